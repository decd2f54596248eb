// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace penstock {

class Error;

}  // namespace penstock
