#include "tensor/tensor_view.h"
