// SPDX-License-Identifier: Apache-2.0
// Defects on purpose, one per argument; see CMakeLists.txt.

#include <iostream>
#include <limits>
#include <memory>
#include <string>
#include <thread>

namespace {

int useAfterFree() {
  auto owner = std::make_unique<int>(1);
  const volatile int* view = owner.get();
  owner.reset();
  return *view;
}

int leak() {
  int* volatile lost = new int(1);
  const int value = *lost;
  lost = nullptr;
  return value;
}

int overflow(int one) {
  volatile int most = std::numeric_limits<int>::max();
  return most + one;
}

int race() {
  int shared = 0;
  std::thread other([&shared] { shared = 1; });
  shared = 2;
  other.join();
  return shared;
}

}  // namespace

int main(int count, char** arguments) {
  const std::string defect = count > 1 ? arguments[1] : "";
  int result = 0;
  if (defect == "use-after-free") {
    result = useAfterFree();
  } else if (defect == "leak") {
    result = leak();
  } else if (defect == "overflow") {
    result = overflow(count - 1);
  } else if (defect == "race") {
    result = race();
  }
  std::cout << "not caught: " << defect << " (" << result << ")\n";
}
