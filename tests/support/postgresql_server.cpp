// SPDX-License-Identifier: Apache-2.0
#include "postgresql_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "subprocess.h"

#ifdef __SANITIZE_ADDRESS__
// libpqxx before 7.7 loses the result that says that a connection was lost (its issue 500).
extern "C" const char* __lsan_default_suppressions() { return "leak:PQmakeEmptyPGresult\n"; }
#endif

namespace penstock::testing {

namespace {

constexpr unsigned nobody = 65534;

/// The newest of Debian's, which are not on the PATH.
std::string findPrograms() {
  namespace fs = std::filesystem;
  std::vector<std::string> found;
  std::error_code none;
  for (const auto& version : fs::directory_iterator("/usr/lib/postgresql", none)) {
    const fs::path programs = version.path() / "bin";
    if (fs::exists(programs / "initdb") && fs::exists(programs / "postgres")) {
      found.push_back(programs.string());
    }
  }
  if (found.empty()) {
    throw std::runtime_error("no PostgreSQL server in /usr/lib/postgresql; install postgresql");
  }
  return *std::max_element(found.begin(), found.end());
}

std::string contentOf(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

/// Starts a program as a user who is not root, its output going to `log`; ends with `signal` when
/// this process does.
pid_t startUnprivileged(const std::vector<std::string>& command, const std::string& log,
                        int signal) {
  std::vector<char*> arguments;
  for (const std::string& argument : command) {
    arguments.push_back(const_cast<char*>(argument.c_str()));
  }
  arguments.push_back(nullptr);
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child != 0) return child;
  const int out = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  const int in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(in, STDIN_FILENO);
  ::dup2(out, STDOUT_FILENO);
  ::dup2(out, STDERR_FILENO);
  if (::geteuid() == 0 &&
      (::setgroups(0, nullptr) != 0 || ::setresgid(nobody, nobody, nobody) != 0 ||
       ::setresuid(nobody, nobody, nobody) != 0)) {
    ::_exit(126);
  }
  ::prctl(PR_SET_PDEATHSIG, signal);  // behind the change of the user, which takes it away
  if (::getppid() != parent || ::chdir("/") != 0) ::_exit(126);
  ::execv(arguments[0], arguments.data());
  ::_exit(127);
}

/// Waits until `done`, which may reap the child, or throws with the log.
void await(const std::function<bool()>& done, const std::string& what, const std::string& log) {
  if (!eventually(done, std::chrono::seconds(60))) {
    throw std::runtime_error(what + ":\n" + contentOf(log));
  }
}

}  // namespace

PostgresqlServer::PostgresqlServer(Disk disk) : programs_(findPrograms()), disk_(disk) {
  if (::geteuid() == 0 && ::chown(directory_.path().c_str(), nobody, nobody) != 0) {
    throw std::runtime_error("cannot give a directory to an unprivileged user");
  }
  const std::string log = directory_ / "initdb.log";
  const pid_t child = startUnprivileged(
      {programs_ + "/initdb", "--pgdata=" + (directory_ / "data"), "--username=penstock",
       "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync", "--wal-segsize=1"},
      log, SIGKILL);
  int status = 0;
  await([&] { return ::waitpid(child, &status, WNOHANG) == child; }, "initdb hangs", log);
  if (status != 0) throw std::runtime_error("initdb:\n" + contentOf(log));
  std::ofstream(directory_ / "data/pg_hba.conf")
      << "local all locked scram-sha-256\nlocal all all trust\n";
  start();
  sql("CREATE ROLE locked LOGIN PASSWORD 'right'; GRANT ALL ON SCHEMA public TO locked; "
      "CREATE ROLE reader LOGIN");
}

PostgresqlServer::~PostgresqlServer() {
  if (pid_ > 0) kill9();
}

PostgresqlServer& PostgresqlServer::running() {
  static PostgresqlServer server(Disk::Unsynced);
  if (server.pid_ < 0) server.start();
  return server;
}

std::string PostgresqlServer::clientProgram() { return findPrograms() + "/psql"; }

std::string PostgresqlServer::address(const std::string& user, const std::string& database) const {
  return fmt::format("postgresql:///{}?host={}&user={}", database, directory_.path(), user);
}

void PostgresqlServer::kill9() {
  std::istringstream children(contentOf(fmt::format("/proc/{0}/task/{0}/children", pid_)));
  const std::vector<pid_t> pids{std::istream_iterator<pid_t>(children), {}};
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
  for (const pid_t pid : pids) ::kill(pid, SIGKILL);  // they would end by themselves soon
  for (const pid_t pid : pids) {
    const auto gone = [&] {
      const std::string status = contentOf(fmt::format("/proc/{}/stat", pid));
      return status.empty() || status.find(") Z") != std::string::npos;
    };
    if (!eventually(gone)) throw std::runtime_error("a process of the server does not end");
  }
}

void PostgresqlServer::start() {
  const std::string log = directory_ / "server.log";
  int status = 0;
  await(
      [&] {
        if (pid_ < 0) {
          pid_ = startUnprivileged(serverCommand(), log, SIGQUIT);  // SIGQUIT: its children too
        }
        if (::waitpid(pid_, &status, WNOHANG) == pid_) {
          pid_ = -1;  // processes of the one before still use its memory: again
          return false;
        }
        return runProgram({programs_ + "/pg_isready", "-q", "-h", directory_.path()}).exitCode == 0;
      },
      "the server does not start", log);
}

std::vector<std::string> PostgresqlServer::serverCommand() const {
  std::vector<std::string> command{programs_ + "/postgres", "-D", directory_ / "data", "-k",
                                   directory_.path()};
  std::vector<std::string> settings{"listen_addresses=", "max_connections=60",
                                    "shared_buffers=16MB", "log_min_messages=warning"};
  if (disk_ == Disk::Unsynced) settings.push_back("fsync=off");
  for (const std::string& setting : settings) {
    command.push_back("-c");
    command.push_back(setting);
  }
  return command;
}

std::string PostgresqlServer::sql(const std::string& statements) {
  const Finished done = runProgram({clientProgram(), "-X", "-q", "-A", "-t", "-v",
                                    "ON_ERROR_STOP=1", "-d", address(), "-c", statements});
  if (done.exitCode != 0) throw std::runtime_error("psql: " + done.err);
  return done.out;
}

}  // namespace penstock::testing
