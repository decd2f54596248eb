// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <penstock/application_options.h>

#include "streams/runtime/backend.h"
#include "streams/topology.h"

namespace penstock::streams {

/// The topology as a backend sees it; a dead-letter topic is an output of every sub-topology.
/// `topology` outlives it.
ApplicationPlan makePlan(const Topology& topology, const ApplicationOptions& options);

}  // namespace penstock::streams
