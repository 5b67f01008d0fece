//===- DistributeParams.h - Parameters, gradients and their updates --------===//
#ifndef MOAI_PASSES_DISTRIBUTEPARAMS_H
#define MOAI_PASSES_DISTRIBUTEPARAMS_H

#include "OpLabels.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "moai/Plan/OptimizerPolicy.h"
#include "moai/Plan/ParallelConfig.h"

namespace moai {

/// Parameters that are gathered, reduced and updated together: those that one op of one stage reads, of one element type, or in
/// stacks those of one iteration. Those that other stages have as well are apart.
struct Bucket {
  int64_t stage = 0;
  bool isTied = false;
  llvm::SmallVector<mlir::BlockArgument, 12> parameters;

  mlir::Type exported() const { return tensorOf(parameters.front()).getElementType(); }
  bool isStacked() const { return llvm::isa<StackType>(parameters.front().getType()); }
};

/// What is left to do for a bucket once the backward is done.
struct PendingUpdate {
  const Bucket *bucket;
  llvm::SmallVector<SymTensorType, 12> tensors; ///< types of the parameters
  llvm::SmallVector<mlir::Value> gradients, masters, states;
};

/// Emits ops that take some values; returns their results.
using EmitOps = llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::ValueRange)>;

/// Gives the parameters of a step with stages their masters, states, copies and updates. For one module.
class ParameterDistributor {
public:
  ParameterDistributor(mlir::func::FuncOp step, const ParallelConfig &config);
  void run();

private:
  // DistributeParams.cpp: what the step has, and what it takes and returns afterwards.
  void readArguments();
  void readResults();
  void collectBuckets();
  PendingUpdate distribute(const Bucket &bucket);
  void finish();
  AllReduceOp tiedSum(mlir::BlockArgument parameter);
  mlir::Type elementOf(FloatKind kind, mlir::Type exported);
  mlir::Type copyElementOf(mlir::Type exported) {
    return elementOf(config.lowPrecisionParams ? policy.precision.parameter : FloatKind::Float32, exported);
  }
  bool isSharded() const { return config.zero > 0; }
  /// One flat shard of all the tensors together.
  SymTensorType shardOf(llvm::ArrayRef<SymTensorType> tensors, mlir::Type element);
  llvm::SmallVector<mlir::Value, 12> addArguments(const Bucket &bucket, mlir::Attribute role, llvm::ArrayRef<mlir::Type> types,
                                                  bool isShard);

  /// Emits ops for a bucket's tensors where the builder stands, or, if they are stacks, a repeat that does it for each instance.
  llvm::SmallVector<mlir::Value> forEach(const Bucket &bucket, llvm::StringRef name, mlir::StringAttr part, mlir::ValueRange inputs,
                                         EmitOps emit);
  void place(mlir::Operation *op, const Bucket &bucket, mlir::Attribute part);

  // DistributeCopies.cpp: what kernels read.
  llvm::SmallVector<mlir::Value> load(const Bucket &bucket, llvm::ArrayRef<SymTensorType> tensors, mlir::ValueRange masters);
  void useCopy(mlir::BlockArgument parameter, mlir::Value copy, int64_t stage);
  void narrowInBody(RepeatOp repeat, mlir::BlockArgument parameter, mlir::Value copy, int64_t stage);

  // DistributeUpdates.cpp: what becomes of the gradients.
  llvm::SmallVector<mlir::Value> accumulate(const Bucket &bucket);
  llvm::SmallVector<mlir::Value> accumulateInBody(const Bucket &bucket, llvm::ArrayRef<mlir::Type> types);
  void sumTied(const Bucket &bucket, llvm::SmallVectorImpl<mlir::Value> &gradients);
  llvm::SmallVector<mlir::Value> reduce(const PendingUpdate &pending, mlir::ValueRange gradients);
  llvm::SmallVector<mlir::Value> optimize(const Bucket &bucket, mlir::ValueRange gradients, mlir::ValueRange taken,
                                          mlir::Value squaredNorm);
  void update(const PendingUpdate &pending);
  void updateClipped(const PendingUpdate &pending, mlir::Value squaredNorm);
  void clip(llvm::MutableArrayRef<PendingUpdate> updates);
  void keepResults(const PendingUpdate &pending, mlir::ValueRange outputs);

  mlir::func::FuncOp step;
  mlir::func::ReturnOp stepReturn;
  ParallelConfig config;
  DeviceMesh mesh;
  OptimizerPolicyAttr policyAttribute;
  OptimizerPolicy policy;
  mlir::MLIRContext *context;
  mlir::OpBuilder builder;
  OpLabels labels;
  mlir::StringAttr nameName, roleName, loadPart, updatePart;

  llvm::SmallVector<mlir::BlockArgument> parameters;
  llvm::DenseMap<mlir::Value, mlir::Value> gradientOf;
  std::vector<Bucket> buckets;
  llvm::SmallVector<mlir::Attribute> argumentAttributes; ///< arguments are added to the block alone; the function follows at the end
  llvm::SmallVector<mlir::Attribute> names;              ///< of arguments
  llvm::SmallVector<mlir::Value> results; ///< of @step: the loss, buffers that the step changes, updated parameters and states
  llvm::SmallVector<mlir::BlockArgument> updatedArguments; ///< the argument whose next value each result but the loss is
  mlir::Operation *lastLoad = nullptr;
  bool isInBody = false; ///< ops are emitted for one iteration of a repeat
};

} // namespace moai

#endif // MOAI_PASSES_DISTRIBUTEPARAMS_H
