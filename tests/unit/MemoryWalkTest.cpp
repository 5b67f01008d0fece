//===- MemoryWalkTest.cpp - Live bytes of small functions, by hand ---------===//
#include "moai/Passes/MemoryWalk.h"
#include "TestModel.h"
#include "mlir/Parser/Parser.h"

using namespace moai;

namespace {

class MemoryWalkTest : public testing::Test {
protected:
  mlir::func::FuncOp parse(llvm::StringRef text) {
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    EXPECT_TRUE(module);
    return module->lookupSymbol<mlir::func::FuncOp>("f");
  }
  TestContext context;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  MemoryWalk walk{DimBinding()};
};

// %a and its view %b are one storage of 16 bytes, freed once %c is made.
TEST_F(MemoryWalkTest, FreesAStorageAfterTheLastUseOfAnyView) {
  const FunctionMemory &memory = walk.of(parse(R"(
    func.func @f(%x: !moai.tensor<[4], f32>) -> (!moai.tensor<[2, 2], f32>, !moai.tensor<[4], f32>) {
      %a = moai.elementwise %x {kind = "neg"} : (!moai.tensor<[4], f32>) -> !moai.tensor<[4], f32>
      %b = moai.reshape %a : (!moai.tensor<[4], f32>) -> !moai.tensor<[2, 2], f32>
      %c = moai.elementwise %b {kind = "neg"} : (!moai.tensor<[2, 2], f32>) -> !moai.tensor<[2, 2], f32>
      %d = moai.elementwise %c {kind = "neg"} : (!moai.tensor<[2, 2], f32>) -> !moai.tensor<[2, 2], f32>
      return %d, %x : !moai.tensor<[2, 2], f32>, !moai.tensor<[4], f32>
    })"));
  EXPECT_EQ(memory.peak, 32);
  EXPECT_EQ(memory.ownBytes(0), 16);
  EXPECT_EQ(memory.ownBytes(1), 0);
  EXPECT_EQ(memory.results[1].front().argument, 0);
}

// The transposed view can't be reshaped in place, so the reshape is a copy.
TEST_F(MemoryWalkTest, CountsViewsThatMustCopy) {
  EXPECT_EQ(walk.of(parse(R"(
    func.func @f(%x: !moai.tensor<[4, 8], f32>) -> !moai.tensor<[32], f32> {
      %t = moai.transpose %x {permutation = array<i64: 1, 0>} : (!moai.tensor<[4, 8], f32>) -> !moai.tensor<[8, 4], f32>
      %r = moai.reshape %t : (!moai.tensor<[8, 4], f32>) -> !moai.tensor<[32], f32>
      return %r : !moai.tensor<[32], f32>
    })"))
                .peak,
            128);
}

TEST_F(MemoryWalkTest, UpdatesInPlaceTakeNothing) {
  const FunctionMemory &memory = walk.of(parse(R"(
    func.func @f(%sum: !moai.tensor<[4], f32>, %x: !moai.tensor<[4], f32>) -> !moai.tensor<[4], f32> {
      %g = moai.elementwise %x {kind = "neg"} : (!moai.tensor<[4], f32>) -> !moai.tensor<[4], f32>
      %s = moai.accumulate %sum, %g {operandSegmentSizes = array<i32: 1, 1>} : (!moai.tensor<[4], f32>, !moai.tensor<[4], f32>) -> !moai.tensor<[4], f32>
      return %s : !moai.tensor<[4], f32>
    })"));
  EXPECT_EQ(memory.peak, 16);
  EXPECT_EQ(memory.results[0].front().argument, 0);
}

// Consumed arguments are alive from the start; %x is freed once %a is made, so %b finds room.
TEST_F(MemoryWalkTest, FreesConsumedArguments) {
  auto function = parse(R"(
    func.func @f(%x: !moai.tensor<[8], f32>) -> !moai.tensor<[2], f32> {
      %a = moai.slice %x {dim = 0 : i64, start = "0", step = 1 : i64} : (!moai.tensor<[8], f32>) -> !moai.tensor<[2], f32>
      %b = moai.elementwise %a {kind = "neg"} : (!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
      %c = moai.elementwise %b {kind = "neg"} : (!moai.tensor<[2], f32>) -> !moai.tensor<[2], f32>
      return %c : !moai.tensor<[2], f32>
    })");
  EXPECT_EQ(walk.of(function, {{{32}}}).peak, 40);
  EXPECT_EQ(walk.of(function).peak, 16);
}

// The callee's peak counts while it runs, its results afterwards.
TEST_F(MemoryWalkTest, LooksIntoCalls) {
  EXPECT_EQ(walk.of(parse(R"(
    func.func private @block(%x: !moai.tensor<[4], f32>) -> !moai.tensor<[1], f32> {
      %a = moai.elementwise %x {kind = "neg"} : (!moai.tensor<[4], f32>) -> !moai.tensor<[4], f32>
      %b = moai.elementwise %a {kind = "neg"} : (!moai.tensor<[4], f32>) -> !moai.tensor<[4], f32>
      %c = moai.reduce %b {dims = array<i64: 0>, keep_dims = true, kind = "sum"} : (!moai.tensor<[4], f32>) -> !moai.tensor<[1], f32>
      return %c : !moai.tensor<[1], f32>
    }
    func.func @f(%x: !moai.tensor<[4], f32>) -> (!moai.tensor<[1], f32>, !moai.tensor<[1], f32>) {
      %a = call @block(%x) : (!moai.tensor<[4], f32>) -> !moai.tensor<[1], f32>
      %b = call @block(%x) : (!moai.tensor<[4], f32>) -> !moai.tensor<[1], f32>
      return %a, %b : !moai.tensor<[1], f32>, !moai.tensor<[1], f32>
    })"))
                .peak,
            36);
}

// %a is handed to the block, which frees it once %b is made: 16 of %a and %b each, then of %b and %c.
TEST_F(MemoryWalkTest, WhatIsHandedToACallIsFreedInside) {
  const FunctionMemory &memory = walk.of(parse(R"(
    func.func private @block(%x: !moai.tensor<[4], f32>) -> !moai.tensor<[8], f32> {
      %b = moai.elementwise %x {kind = "neg"} : (!moai.tensor<[4], f32>) -> !moai.tensor<[4], f32>
      %c = moai.concat %b, %b {dim = 0 : i64} : (!moai.tensor<[4], f32>, !moai.tensor<[4], f32>) -> !moai.tensor<[8], f32>
      return %c : !moai.tensor<[8], f32>
    }
    func.func @f(%x: !moai.tensor<[4], f32>) -> !moai.tensor<[8], f32> {
      %a = moai.elementwise %x {kind = "neg"} : (!moai.tensor<[4], f32>) -> !moai.tensor<[4], f32>
      %b = call @block(%a) {moai.block = "layers.0"} : (!moai.tensor<[4], f32>) -> !moai.tensor<[8], f32>
      return %b : !moai.tensor<[8], f32>
    })"));
  EXPECT_EQ(memory.peak, 16 + 32);
  EXPECT_EQ(memory.peakOp, "layers.0: moai.concat");
}

} // namespace
