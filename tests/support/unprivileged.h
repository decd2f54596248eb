// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <grp.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <exception>
#include <functional>
#include <string>

namespace penstock::testing {

/// What `body` returns when a forked child without root's right to ignore permissions runs it. As
/// root the child becomes uid and gid 65534 first, else permissions bind it anyway. A child that
/// throws, ends early or takes more than a minute says so instead. Fork before anything is open.
inline std::string asUnprivileged(const std::function<std::string()>& body) {
  constexpr unsigned nobody = 65534;
  int pipes[2];
  if (::pipe(pipes) != 0) return "pipe failed";
  const pid_t child = ::fork();
  if (child == 0) {
    std::string said;
    if (::geteuid() == 0 &&
        (::setgroups(0, nullptr) != 0 || ::setresgid(nobody, nobody, nobody) != 0 ||
         ::setresuid(nobody, nobody, nobody) != 0)) {
      said = "could not give up root";
    } else {
      try {
        said = body();
      } catch (const std::exception& error) {
        said = std::string("threw: ") + error.what();
      }
    }
    (void)!::write(pipes[1], said.data(), said.size());
    ::_exit(0);
  }
  ::close(pipes[1]);
  std::string heard;
  char bytes[4096];
  pollfd readable{pipes[0], POLLIN, 0};
  for (;;) {
    if (::poll(&readable, 1, 60'000) <= 0) {
      ::kill(child, SIGKILL);
      heard += " (took too long)";
      break;
    }
    const ssize_t got = ::read(pipes[0], bytes, sizeof(bytes));
    if (got <= 0) break;
    heard.append(bytes, static_cast<std::size_t>(got));
  }
  ::close(pipes[0]);
  int status = 0;
  ::waitpid(child, &status, 0);
  return heard;
}

}  // namespace penstock::testing
