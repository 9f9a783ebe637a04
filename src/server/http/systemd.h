// The two protocols a service manager speaks: socket activation and readiness.
#pragma once

#include <string_view>
#include <vector>

namespace rill::server {

// Listening sockets passed by LISTEN_FDS (sd_listen_fds(3)); empty when none are for this process.
// The variables are removed, so that children do not take them for theirs.
std::vector<int> SystemdListenFds();

// Sends "READY=1", "STOPPING=1", "STATUS=…", "WATCHDOG=1" to NOTIFY_SOCKET (sd_notify(3)). Does
// nothing without one; failures are ignored. Any thread.
void SystemdNotify(std::string_view state);

}  // namespace rill::server
