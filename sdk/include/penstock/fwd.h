// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace penstock {

class Application;
class Error;
struct RecordInfo;

template <typename K, typename V>
class Stream;
template <typename K, typename V, typename KeySerde, typename ValueSerde>
class GroupedStream;
template <typename K, typename V>
class Table;
template <typename K, typename V>
class KeyValueStore;

}  // namespace penstock
