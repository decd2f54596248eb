// SPDX-License-Identifier: Apache-2.0

// Values that survive restarts: every type, waiting and asynchronous.
//
//   program ── set ──> LocalFileStorage ── on disk when set returns ──> $PENSTOCK_STATE_DIR
//
// Run it twice: `runs` goes on where it was.

#include <penstock/state/local_file_storage.h>

#include <exception>
#include <iostream>

int main() try {
  penstock::state::LocalFileStorage storage;  // $PENSTOCK_STATE_DIR, else ./state

  const auto runs = storage.update<std::int64_t>(
      "runs", [](std::optional<std::int64_t> before) { return before.value_or(0) + 1; });
  std::cout << "run " << runs.current << '\n';
  if (runs.previous) std::cout << "KEY3 from last time: " << storage.getString("KEY3") << '\n';

  // set value to specific key
  storage.set("KEY1", 123);     // int64
  storage.set("KEY2", 1.23);    // double
  storage.set("KEY3", "1.23");  // string
  storage.set("KEY4", penstock::state::Binary{std::byte{12}, std::byte{53}, std::byte{23}});
  storage.set("KEY5", false);  // bool, and read as one

  // retrieve value from key
  std::cout << storage.getLong("KEY1") << ' ' << storage.getDouble("KEY2") << ' '
            << storage.getString("KEY3") << ' ' << storage.getBinary("KEY4").size() << " bytes "
            << std::boolalpha << storage.getBool("KEY5") << '\n';

  // the asynchronous API: a future each, ready when the value is on disk
  auto first = storage.setAsync("KEY6", "a");
  auto second = storage.setAsync("KEY7", "b");  // shares the first one's sync
  first.get();
  second.get();

  // several changes at once: all of them survive a crash, or none
  auto batch = storage.batch();
  batch.remove("KEY6");
  batch.remove("KEY7");
  storage.write(batch);

  // check if the key exists, list all keys in the storage
  std::cout << "KEY6 there: " << storage.containsKey("KEY6") << "\nkeys:";
  for (const auto& key : storage.getAllKeys()) std::cout << ' ' << key;
  std::cout << '\n';
  return 0;
} catch (const std::exception& error) {
  std::cerr << "local_storage: " << error.what() << '\n';
  return 1;
}
