// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace penstock {

class Application;
class Error;
struct RecordInfo;

template <typename K, typename V>
class Stream;
template <typename K, typename V>
class GroupedStream;
template <typename K, typename V>
class Table;
template <typename K, typename V>
class KeyValueStore;

}  // namespace penstock
