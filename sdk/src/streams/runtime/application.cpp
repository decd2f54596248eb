// SPDX-License-Identifier: Apache-2.0
#include <penstock/application.h>

#include <utility>

#include "streams/runtime/application_run.h"
#include "streams/topology.h"

namespace penstock {

Application::Application(ApplicationOptions options)
    : options_(std::move(options)),
      builder_(std::make_shared<detail::TopologyBuilder>()),
      run_(std::make_shared<streams::ApplicationRun>(options_)) {}

Application::~Application() = default;

std::string Application::describe() const {
  return streams::Topology(options_.id, *builder_).describe();
}

void Application::run() { run_->run(*builder_); }

void Application::stop() { run_->stop(); }

ApplicationMetrics Application::metrics() const { return run_->metrics(); }

}  // namespace penstock
