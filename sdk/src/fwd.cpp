// SPDX-License-Identifier: Apache-2.0
#include "penstock/fwd.h"
