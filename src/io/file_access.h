// Who may read a file that was made from others: nobody who may not read those.
#pragma once

#include <string>
#include <vector>

namespace rill::io {

// The open file `fd`, of this user, gets the reading bits that all `sources` have, less those that
// the umask takes, and writing for its owner alone. Where its group is not a source's, group and
// others may read it only if both may read that source; a source that is not there counts as
// private. With `only_narrow` it loses bits and gets none. Owner thread: any.
// Errors: false, with errno, when the bits cannot be set.
bool SetAccessLike(int fd, const std::vector<std::string>& sources, bool only_narrow);

}  // namespace rill::io
