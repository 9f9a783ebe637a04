#include "rill/file_error.h"

#include <cerrno>
#include <utility>

namespace rill {

Status FileError(std::string message, int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR: return NotFound(std::move(message));
    case EACCES:
    case EPERM:
    case ELOOP:
    case ENAMETOOLONG:
    case EISDIR:
    case EEXIST:
    case EINVAL: return InvalidArgument(std::move(message));
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EROFS:
    case EMFILE:
    case ENFILE:
    case ENOMEM: return ResourceExhausted(std::move(message));
    case EIO: return DataLoss(std::move(message));
    default: return FailedPrecondition(std::move(message));
  }
}

}  // namespace rill
