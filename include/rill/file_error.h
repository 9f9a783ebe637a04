// What it means to the caller that a file or folder could not be opened, read, made or written.
#pragma once

#include <string>

#include "rill/status.h"

namespace rill {

// The error for `error`, an errno, with `message` as it is:
//   kNotFound           ENOENT, ENOTDIR
//   kInvalidArgument    EACCES, EPERM, ELOOP, ENAMETOOLONG, EISDIR, EEXIST, EINVAL: as named, and
//                       for this user, it cannot succeed
//   kResourceExhausted  ENOSPC, EDQUOT, EFBIG, EROFS, EMFILE, ENFILE, ENOMEM
//   kDataLoss           EIO
//   kFailedPrecondition any other
// Never kUnavailable, which is the network's.
Status FileError(std::string message, int error);

}  // namespace rill
