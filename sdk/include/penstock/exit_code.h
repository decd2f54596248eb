// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <exception>

namespace penstock {

/// What a program that ends because of `error` should return from main, so that whoever
/// supervises it knows what to do (docs/operations.md):
///
///   1  a record, key or function of the program failed, or a bug of Penstock's
///   2  an option, variable, address, topic or permission is wrong
///   3  durable state is damaged, missing or does not fit
///   4  passing: disk full, broker out of reach, held by another process
///   5  the journal failed: the disk refused a sync
///
/// Threads: safe from any thread.
int exitCode(const std::exception& error) noexcept;

}  // namespace penstock
