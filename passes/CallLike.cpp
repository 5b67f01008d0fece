//===- CallLike.cpp - Finding and making calls of blocks -------------------===//
#include "CallLike.h"

using namespace mlir;
using namespace moai;

BlockCall moai::createLike(OpBuilder &builder, BlockCall like, func::FuncOp function, ValueRange operands, ArrayRef<int64_t> carries,
                           llvm::function_ref<bool(unsigned)> isStacked) {
  RepeatOp repeated = like.repeat();
  Operation *made;
  if (repeated) {
    SmallVector<Type> types;
    for (auto [number, type] : llvm::enumerate(function.getResultTypes()))
      types.push_back(isStacked(number) ? Type(StackType::get(repeated.getCount(), cast<SymTensorType>(type))) : type);
    made = builder.create<RepeatOp>(like->getLoc(), types, operands, function.getName(), repeated.getCount(), carries,
                                    repeated.getBlocksAttr(), repeated.getReversed());
  } else {
    made = builder.create<func::CallOp>(like->getLoc(), function, operands);
  }
  made->setDiscardableAttrs(like->getDiscardableAttrDictionary());
  return made;
}
