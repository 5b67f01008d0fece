//===- Blocks.cpp - Repeated blocks ----------------------------------------===//
#include "Recognition.h"
#include "llvm/ADT/Hashing.h"
#include "llvm/ADT/StringMap.h"
#include <map>

using namespace moai;

// `model.layers.0.mlp` -> `model.layers.0` for level 1; empty if the path has fewer numbers than that.
static llvm::StringRef instancePrefix(llvm::StringRef path, unsigned level) {
  size_t at = 0;
  while (at < path.size()) {
    size_t end = path.find('.', at);
    llvm::StringRef component = path.slice(at, end);
    unsigned number;
    if (!component.empty() && !component.getAsInteger(10, number) && --level == 0)
      return path.take_front(end == llvm::StringRef::npos ? path.size() : end);
    if (end == llvm::StringRef::npos)
      break;
    at = end + 1;
  }
  return {};
}

static std::string className(llvm::StringRef instance) { return instance.take_front(instance.rfind('.')).str() + ".*"; }

// Outer operands and outer uses of a run of ops.
static void findBoundary(const TrainingGraph &graph, BlockInstance &block, const std::vector<size_t> &lastUse) {
  auto inside = [&](ValueId value) {
    int32_t producer = graph.values[value].producer;
    return producer >= static_cast<int32_t>(block.first) && producer < static_cast<int32_t>(block.last);
  };
  for (size_t i = block.first; i < block.last; ++i) {
    const GraphOp &op = graph.ops[i];
    if (op.dead)
      continue;
    for (ValueId operand : op.operands)
      if (operand != kNoValue && !inside(operand) && !llvm::is_contained(block.inputs, operand))
        block.inputs.push_back(operand);
    for (ValueId result : op.results)
      if (lastUse[result] != SIZE_MAX && lastUse[result] >= block.last)
        block.outputs.push_back(result);
  }
}

// Everything that must agree for two instances to share one function: ops, attributes, shapes, wiring.
static std::vector<int64_t> signature(const TrainingGraph &graph, const BlockInstance &block) {
  std::vector<int64_t> words;
  llvm::DenseMap<ValueId, int64_t> numbers;
  auto addDims = [&](const GraphValue &value) {
    for (DimId dim : value.dims)
      words.push_back(graph.dims.canonical(dim));
  };
  for (ValueId input : block.inputs) {
    const GraphValue &value = graph.values[input];
    numbers[input] = numbers.size();
    words.push_back(static_cast<int64_t>(value.dtype) * 8 + static_cast<int64_t>(value.role));
    addDims(value);
  }
  auto addDouble = [&](double number) {
    int64_t bits;
    std::memcpy(&bits, &number, sizeof bits);
    words.push_back(bits);
  };
  for (size_t i = block.first; i < block.last; ++i) {
    const GraphOp &op = graph.ops[i];
    if (op.dead)
      continue;
    words.push_back(static_cast<int64_t>(op.code));
    words.push_back(static_cast<int64_t>(llvm::hash_value(op.kind)));
    for (ValueId operand : op.operands)
      words.push_back(operand == kNoValue ? -1 : numbers[operand]);
    words.insert(words.end(), op.ints.begin(), op.ints.end());
    words.insert(words.end(), op.moreInts.begin(), op.moreInts.end());
    for (double number : op.floats)
      addDouble(number);
    for (const Dim::Term &term : op.start.getTerms()) {
      words.push_back(term.powers);
      words.push_back(term.coefficient);
    }
    for (ValueId result : op.results) {
      const GraphValue &value = graph.values[result];
      numbers[result] = numbers.size();
      words.push_back(static_cast<int64_t>(value.dtype));
      addDims(value);
      words.push_back(llvm::is_contained(block.outputs, result));
    }
  }
  return words;
}

static std::vector<size_t> lastUses(const TrainingGraph &graph) {
  std::vector<size_t> last(graph.values.size(), SIZE_MAX);
  for (size_t i = 0; i < graph.ops.size(); ++i)
    if (!graph.ops[i].dead)
      for (ValueId operand : graph.ops[i].operands)
        if (operand != kNoValue)
          last[operand] = i;
  for (ValueId output : graph.outputs)
    last[output] = graph.ops.size();
  return last;
}

// Runs of live ops with the same prefix; a prefix that comes back later is no block.
static std::vector<BlockInstance> instancesByPath(const TrainingGraph &graph, unsigned level) {
  std::vector<BlockInstance> runs;
  llvm::StringMap<unsigned> seen;
  llvm::StringRef current;
  for (size_t i = 0; i < graph.ops.size(); ++i) {
    if (graph.ops[i].dead)
      continue;
    llvm::StringRef prefix = instancePrefix(graph.ops[i].path, level);
    if (prefix != current || runs.empty()) {
      current = prefix;
      runs.emplace_back();
      runs.back().name = prefix.str();
      runs.back().first = i;
      ++seen[prefix];
    }
    runs.back().last = i + 1;
  }
  std::vector<BlockInstance> instances;
  for (BlockInstance &run : runs)
    if (!run.name.empty() && seen[run.name] == 1)
      instances.push_back(std::move(run));
  return instances;
}

// Without paths: the longest stretch of ops that repeats itself with a period, cut where the fewest values cross.
static std::vector<BlockInstance> instancesByStructure(const TrainingGraph &graph, const std::vector<size_t> &lastUse) {
  std::vector<size_t> live;
  for (size_t i = 0; i < graph.ops.size(); ++i)
    if (!graph.ops[i].dead)
      live.push_back(i);
  std::vector<size_t> hashes;
  for (size_t i : live) {
    const GraphOp &op = graph.ops[i];
    llvm::hash_code hash = llvm::hash_combine(static_cast<int>(op.code), op.kind);
    for (ValueId result : op.results) {
      hash = llvm::hash_combine(hash, static_cast<int>(graph.values[result].dtype));
      for (DimId dim : graph.values[result].dims)
        hash = llvm::hash_combine(hash, graph.dims.canonical(dim));
    }
    hashes.push_back(hash);
  }
  constexpr size_t kShortest = 8, kLongest = 4000;
  size_t bestPeriod = 0, bestStart = 0, bestLength = 0;
  for (size_t period = kShortest; period <= std::min(kLongest, live.size() / 2); ++period) {
    size_t run = 0;
    for (size_t i = 0; i + period < live.size(); ++i) {
      run = hashes[i] == hashes[i + period] ? run + 1 : 0;
      if (run >= period && run > bestLength) {
        bestLength = run;
        bestPeriod = period;
        bestStart = i + 1 - run;
      }
    }
  }
  std::vector<BlockInstance> instances;
  if (!bestPeriod)
    return instances;
  size_t count = bestLength / bestPeriod + 1, slack = bestLength % bestPeriod, bestShift = 0, bestCrossing = SIZE_MAX;
  for (size_t shift = 0; shift <= slack; ++shift) {
    size_t cut = live[bestStart + shift + bestPeriod], crossing = 0;
    for (size_t i = 0; i < cut; ++i)
      if (!graph.ops[i].dead)
        for (ValueId result : graph.ops[i].results)
          crossing += lastUse[result] != SIZE_MAX && lastUse[result] >= cut;
    if (crossing < bestCrossing) {
      bestCrossing = crossing;
      bestShift = shift;
    }
  }
  for (size_t k = 0; k < count; ++k) {
    BlockInstance block;
    block.name = "repeat." + std::to_string(k);
    block.first = live[bestStart + bestShift + k * bestPeriod];
    block.last = live[bestStart + bestShift + (k + 1) * bestPeriod - 1] + 1;
    instances.push_back(std::move(block));
  }
  return instances;
}

// Keeps the instances that have an equal twin.
static Blocks classify(const TrainingGraph &graph, std::vector<BlockInstance> instances, const std::vector<size_t> &lastUse) {
  std::map<std::vector<int64_t>, std::vector<unsigned>> bySignature;
  for (auto [index, block] : llvm::enumerate(instances)) {
    findBoundary(graph, block, lastUse);
    bySignature[signature(graph, block)].push_back(index);
  }
  std::vector<bool> repeated(instances.size());
  for (auto &[words, members] : bySignature)
    for (unsigned member : members)
      repeated[member] = members.size() > 1;
  Blocks blocks;
  std::map<unsigned, int> classOf;
  for (auto &[words, members] : bySignature)
    for (unsigned member : members)
      classOf[member] = static_cast<int>(members.front());
  std::map<int, int> renumbered;
  for (auto [index, block] : llvm::enumerate(instances)) {
    if (!repeated[index])
      continue;
    auto [it, isNew] = renumbered.try_emplace(classOf[index], static_cast<int>(blocks.classes.size()));
    if (isNew)
      blocks.classes.push_back({className(block.name), {}});
    block.blockClass = it->second;
    blocks.classes[it->second].instances.push_back(blocks.instances.size());
    blocks.instances.push_back(std::move(block));
  }
  return blocks;
}

Blocks moai::findBlocks(const TrainingGraph &graph) {
  std::vector<size_t> lastUse = lastUses(graph);
  auto covered = [](const Blocks &blocks) {
    size_t ops = 0;
    for (const BlockInstance &block : blocks.instances)
      ops += block.last - block.first;
    return ops;
  };
  // Numbered modules may nest (stages of blocks); the level that explains most of the graph wins, the outer one on a tie.
  Blocks best = classify(graph, instancesByPath(graph, 1), lastUse);
  Blocks inner = classify(graph, instancesByPath(graph, 2), lastUse);
  if (covered(inner) > covered(best))
    best = std::move(inner);
  if (best.instances.empty())
    best = classify(graph, instancesByStructure(graph, lastUse), lastUse);
  return best;
}
