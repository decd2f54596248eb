// SPDX-License-Identifier: Apache-2.0
#include "support/subprocess.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>

namespace penstock::testing {

namespace {

struct Pipe {
  int read = -1;
  int write = -1;
  Pipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
    read = ends[0];
    write = ends[1];
  }
};

}  // namespace

Subprocess::Subprocess(std::vector<std::string> arguments,
                       const std::vector<std::string>& environment) {
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  // ours first: the first of two definitions counts
  std::vector<std::string> added = environment;
  std::vector<char*> envp;
  for (std::string& variable : added) envp.push_back(variable.data());
  for (char** variable = environ; *variable != nullptr; ++variable) envp.push_back(*variable);
  envp.push_back(nullptr);

  const Pipe in;
  const Pipe out;
  const Pipe err;
  const pid_t parent = ::getpid();
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork");
  if (pid_ == 0) {  // nothing but async-signal-safe calls from here
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    ::dup2(in.read, 0);
    ::dup2(out.write, 1);
    ::dup2(err.write, 2);
    ::execve(argv[0], argv.data(), envp.data());
    const char* message = std::strerror(errno);
    (void)!::write(2, message, std::strlen(message));
    ::_exit(127);
  }
  ::close(in.read);
  ::close(out.write);
  ::close(err.write);
  input_ = in.write;
  outReader_ = std::thread([this, fd = out.read] { collect(fd, out_); });
  errReader_ = std::thread([this, fd = err.read] { collect(fd, err_); });
}

Subprocess::~Subprocess() {
  if (!reaped_) kill9();
}

void Subprocess::collect(int fd, std::string& into) {
  char buffer[65536];
  while (true) {
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    const std::lock_guard guard(mutex_);
    if (count <= 0) {
      --open_;
      changed_.notify_all();
      break;
    }
    into.append(buffer, static_cast<std::size_t>(count));
    changed_.notify_all();
  }
  ::close(fd);
}

void Subprocess::write(const std::string& input) {
  // a program that ended reads no more: an error to look at, not a reason to die
  struct sigaction ignore {};
  struct sigaction before {};
  ignore.sa_handler = SIG_IGN;
  ::sigaction(SIGPIPE, &ignore, &before);
  for (std::size_t at = 0; at < input.size();) {
    const ssize_t count = ::write(input_, input.data() + at, input.size() - at);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) break;
    at += static_cast<std::size_t>(count);
  }
  ::sigaction(SIGPIPE, &before, nullptr);
}

void Subprocess::closeInput() {
  if (input_ >= 0) ::close(input_);
  input_ = -1;
}

void Subprocess::signal(int number) {
  if (!reaped_) ::kill(pid_, number);
}

std::string Subprocess::out() {
  const std::lock_guard guard(mutex_);
  return out_;
}

std::string Subprocess::err() {
  const std::lock_guard guard(mutex_);
  return err_;
}

bool Subprocess::waitForOutput(const std::function<bool(const std::string&)>& good,
                               std::chrono::seconds timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] { return good(out_) || open_ == 0; });
  return good(out_);
}

bool Subprocess::ended() {
  const std::lock_guard lock(mutex_);
  return open_ == 0;
}

Finished Subprocess::wait(std::chrono::seconds timeout) {
  if (reaped_) return finished_;
  closeInput();
  {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, timeout, [&] { return open_ == 0; })) ::kill(pid_, SIGKILL);
  }
  int status = 0;
  const auto ended = [&] { return ::waitpid(pid_, &status, WNOHANG) == pid_; };
  if (!eventually(ended)) {  // closed its output, but lives
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status, 0);
  }
  outReader_.join();
  errReader_.join();
  reaped_ = true;
  if (WIFEXITED(status)) finished_.exitCode = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) finished_.signal = WTERMSIG(status);
  finished_.out = out_;
  finished_.err = err_;
  return finished_;
}

Finished Subprocess::kill9() {
  signal(SIGKILL);
  return wait();
}

Finished runProgram(std::vector<std::string> arguments, const std::string& input,
                    const std::vector<std::string>& environment) {
  Subprocess program(std::move(arguments), environment);
  program.write(input);
  return program.wait();
}

bool eventually(const std::function<bool()>& condition, std::chrono::seconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace penstock::testing
