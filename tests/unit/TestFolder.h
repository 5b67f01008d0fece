//===- TestFolder.h - A folder for a test's files --------------------------===//
#ifndef MOAI_TESTS_UNIT_TESTFOLDER_H
#define MOAI_TESTS_UNIT_TESTFOLDER_H

#include "llvm/Support/FileSystem.h"
#include "gtest/gtest.h"
#include <fstream>

namespace moai {

/// Empty at first, gone in the end.
class TestFolder {
public:
  TestFolder() { EXPECT_FALSE(llvm::sys::fs::createUniqueDirectory("moai-test", folder)); }
  ~TestFolder() { llvm::sys::fs::remove_directories(folder); }
  TestFolder(const TestFolder &) = delete;
  TestFolder &operator=(const TestFolder &) = delete;

  std::string path() const { return folder.str().str(); }
  std::string path(llvm::StringRef name) const { return (folder + "/" + name).str(); }
  /// Writes a file and returns its path.
  std::string write(llvm::StringRef name, llvm::StringRef content) const {
    std::ofstream(path(name), std::ios::binary) << content.str();
    return path(name);
  }

private:
  llvm::SmallString<128> folder;
};

} // namespace moai

#endif // MOAI_TESTS_UNIT_TESTFOLDER_H
