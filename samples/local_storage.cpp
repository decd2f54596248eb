// SPDX-License-Identifier: Apache-2.0

// Values that survive restarts: every type, waiting and asynchronous.
//
//   program ── set ──> LocalFileStorage ── on disk when set returns ──> $PENSTOCK_STATE_DIR
//
// Run it twice: `runs` goes on where it was. Without $PENSTOCK_STATE_DIR the directory is ./state,
// which in the root of Penstock's own source is a folder of sources: do not run it there without.

#include <penstock/exit_code.h>
#include <penstock/state/local_file_storage.h>

#include <exception>
#include <iostream>

int main() try {
  using penstock::state::Binary;
  penstock::state::LocalFileStorage storage;  // $PENSTOCK_STATE_DIR, else ./state

  const auto runs = storage.update<std::int64_t>(
      "runs", [](std::optional<std::int64_t> before) { return before.value_or(0) + 1; });
  auto values = storage.subStorage("values");  // keys of its own in the same directory
  std::cout << std::boolalpha << "run " << runs.current << '\n';
  if (runs.previous) std::cout << "KEY3 from last time: " << values.getString("KEY3") << '\n';

  // clear storage (remove all keys)
  values.clear();

  // set value to specific key
  values.set("KEY1", 123);     // int64
  values.set("KEY2", 1.23);    // double
  values.set("KEY3", "1.23");  // string
  values.set("KEY4", Binary{std::byte{12}, std::byte{53}, std::byte{23}});
  values.set("KEY5", false);  // bool, and read as one

  // check if the key exists, retrieve value from key, list all keys in the storage
  std::cout << "KEY1 there: " << values.containsKey("KEY1") << '\n'
            << values.getLong("KEY1") << ' ' << values.getDouble("KEY2") << ' '
            << values.getString("KEY3") << ' ' << values.getBinary("KEY4").size() << " bytes "
            << values.getBool("KEY5") << "\nkeys:";
  for (const auto& key : values.getAllKeys()) std::cout << ' ' << key;
  std::cout << '\n';

  // the asynchronous API: a future each, those of writes ready when the change is on disk
  auto cleared = values.clearAsync();
  auto first = values.setAsync("KEY1", 456);  // in order, and sharing one sync
  auto second = values.setAsync("KEY3", "4.56");
  cleared.get();
  first.get();
  second.get();
  std::cout << "KEY2 there: " << values.containsKeyAsync("KEY2").get() << '\n'
            << values.getLongAsync("KEY1").get() << ' ' << values.getStringAsync("KEY3").get()
            << "\nkeys:";
  for (const auto& key : values.getAllKeysAsync().get()) std::cout << ' ' << key;
  std::cout << '\n';

  // several changes at once: all of them survive a crash, or none
  auto batch = values.batch();
  batch.set("KEY3", "7.89");
  batch.remove("KEY1");
  values.write(batch);
  return 0;
} catch (const std::exception& error) {
  std::cerr << "local_storage: " << error.what() << '\n';
  return penstock::exitCode(error);
}
