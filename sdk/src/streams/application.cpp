// SPDX-License-Identifier: Apache-2.0
#include "penstock/application.h"

#include <utility>

#include "streams/topology.h"

namespace penstock {

Application::Application(ApplicationOptions options)
    : options_(std::move(options)), builder_(std::make_shared<detail::TopologyBuilder>()) {}

Application::~Application() = default;

std::string Application::describe() const {
  return streams::Topology(options_.id, *builder_).describe();
}

}  // namespace penstock
