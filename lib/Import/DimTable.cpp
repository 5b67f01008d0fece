//===- DimTable.cpp - Dimensions while a graph is being understood ---------===//
#include "DimTable.h"

using namespace moai;

DimId DimTable::get(const Dim &dim, LiteralSite site) {
  if (dim.isConstant()) {
    auto [it, isNew] = constants.try_emplace({dim.constant(), site}, static_cast<DimId>(entries.size()));
    DimId id = it->second;
    if (isNew) {
      entries.push_back({dim, site, dim.constant(), id});
      if (site != kNoSite) {
        DimId canonical = get(dim);
        entries[id].canonical = canonical;
      }
    }
    return id;
  }
  for (DimId id : symbolic)
    if (entries[id].dim == dim)
      return id;
  symbolic.push_back(static_cast<DimId>(entries.size()));
  entries.push_back({dim, kNoSite, dim.evaluate(exported), static_cast<DimId>(entries.size())});
  return symbolic.back();
}

DimId DimTable::literal(int64_t value, LiteralSite site) {
  auto bound = bindings.find(site);
  return bound == bindings.end() ? get(Dim(value), site) : get(bound->second);
}

DimId DimTable::shifted(DimId base, int64_t delta) {
  LiteralSite site = entries[base].site;
  int64_t offset;
  if (__builtin_add_overflow(entries[base].offset, delta, &offset))
    offset = 0;
  DimId id = get(entries[base].dim + Dim(delta), site);
  if (site != kNoSite)
    entries[id].offset = offset;
  return id;
}

DimId DimTable::unify(DimId a, DimId b, bool sure) {
  if (a == b)
    return a;
  const Entry &left = entries[a], &right = entries[b];
  auto learn = [&](const Entry &literal, const Entry &meaning) {
    if (!literal.dim.isConstant() || literal.site == kNoSite || meaning.dim.isConstant() || literal.hint != meaning.hint)
      return;
    if (literal.hint == 1 && !sure)
      return;
    if (bindings.try_emplace(literal.site, meaning.dim - Dim(literal.offset)).second)
      progress = true;
  };
  learn(left, right);
  learn(right, left);
  if (left.dim.isConstant() != right.dim.isConstant() && left.hint == right.hint)
    return left.dim.isConstant() ? b : a;
  return left.dim.isConstant(1) ? b : a;
}

bool DimTable::takeProgress() {
  bool result = progress;
  progress = false;
  return result;
}
