// Json is part of the public headers; modules include it from here.
#pragma once

#include "rill/json.h"  // IWYU pragma: export
