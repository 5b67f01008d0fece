//===- FileTest.cpp - Files that are written whole or not at all -----------===//
#include "moai/Support/File.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include <fstream>
#include <sys/stat.h>
#include <thread>

using namespace moai;

namespace {

class FileTest : public testing::Test {
protected:
  void SetUp() override { ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("moai-file-test", folder)); }
  void TearDown() override { llvm::sys::fs::remove_directories(folder); }
  std::string path(llvm::StringRef name) { return (folder + "/" + name).str(); }
  std::string read(llvm::StringRef name) {
    auto buffer = llvm::MemoryBuffer::getFile(path(name));
    return buffer ? (*buffer)->getBuffer().str() : "no file";
  }
  unsigned countEntries() {
    unsigned count = 0;
    std::error_code error;
    for (llvm::sys::fs::directory_iterator it(folder, error), end; it != end && !error; it.increment(error))
      ++count;
    return count;
  }
  llvm::SmallString<128> folder;
};

TEST_F(FileTest, WritesAndReplaces) {
  ASSERT_TRUE(writeFile(path("a"), "first").ok());
  ASSERT_TRUE(writeFile(path("a"), "second").ok());
  EXPECT_EQ(read("a"), "second");
  EXPECT_EQ(countEntries(), 1u); // no temporary is left
}

// What a link leads to is replaced, and the link stays one.
TEST_F(FileTest, FollowsLinks) {
  ASSERT_TRUE(createFolder(path("b")).ok());
  ASSERT_TRUE(writeFile(path("b/target"), "old").ok());
  ASSERT_FALSE(llvm::sys::fs::create_link(path("b/target"), path("link")));
  ASSERT_TRUE(writeFile(path("link"), "new").ok());
  EXPECT_TRUE(llvm::sys::fs::is_symlink_file(path("link")));
  EXPECT_EQ(read("b/target"), "new");
}

// A pipe stays one; whoever reads it gets the content.
TEST_F(FileTest, WritesIntoPipes) {
  ASSERT_EQ(mkfifo(path("pipe").c_str(), 0600), 0);
  std::string got;
  std::thread reader([&] {
    std::ifstream in(path("pipe"));
    got.assign(std::istreambuf_iterator<char>(in), {});
  });
  EXPECT_EQ(writeFile(path("pipe"), "through"), absl::OkStatus());
  reader.join();
  EXPECT_EQ(got, "through");
  llvm::sys::fs::file_status status;
  ASSERT_FALSE(llvm::sys::fs::status(path("pipe"), status));
  EXPECT_EQ(status.type(), llvm::sys::fs::file_type::fifo_file);
}

TEST_F(FileTest, FoldersAreAsTheMaskAllows) {
  mode_t before = umask(022);
  ASSERT_TRUE(createFolder(path("d")).ok());
  umask(before);
  EXPECT_EQ(*llvm::sys::fs::getPermissions(path("d")), llvm::sys::fs::perms(0755));
}

TEST_F(FileTest, AFailureLeavesTheOldFile) {
  ASSERT_TRUE(writeFile(path("a"), "old").ok());
  // A folder that is not empty can't be renamed over.
  ASSERT_TRUE(createFolder(path("b/c")).ok());
  absl::Status status = writeFile(path("b"), "new");
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("can't be written"));
  EXPECT_EQ(read("a"), "old");
  EXPECT_EQ(countEntries(), 2u);
}

TEST_F(FileTest, WritesWhatAFunctionWrites) {
  absl::Status status = writeFile(path("a"), [](llvm::raw_ostream &os) { os << "first" << 2; });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(read("a"), "first2");
  EXPECT_EQ(countEntries(), 1u);
}

TEST_F(FileTest, ChecksAFolderWithoutMakingIt) {
  EXPECT_TRUE(checkWritableFolder(path("x/y/z")).ok());
  EXPECT_EQ(countEntries(), 0u);
  ASSERT_TRUE(writeFile(path("file"), "").ok());
  EXPECT_THAT(std::string(checkWritableFolder(path("file/y")).message()), testing::HasSubstr("file is not a folder"));
}

} // namespace
