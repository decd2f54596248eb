// SPDX-License-Identifier: Apache-2.0
#include "penstock/detail/node.h"

#include <stdexcept>

namespace penstock::detail {

void Node::refuseChild(const Node& child) const {
  throw std::logic_error("operator " + name_ + " cannot pass records to " + child.name() +
                         ": their types differ");
}

}  // namespace penstock::detail
