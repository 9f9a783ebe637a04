// isa/tiles_amx.inl in plain C++, so that gemm_amx.inl is tested where there is no tile unit. What
// the instructions refuse (#GP, #UD: Intel's manual, volume 2, LDTILECFG and TDPBSSD) ends the
// process here too: a configuration that is none, and operands whose shapes do not fit.
struct EmulatedTiles {
  static constexpr int kTiles = 8, kRows = 16, kRowBytes = 64;
  struct Tile {
    int rows = 0, row_bytes = 0;  // 0, 0: not configured
    uint8_t bytes[kRows][kRowBytes];
  };
  Tile tile[kTiles];
  bool configured = false;

  static void Require(bool holds) {
    if (!holds) __builtin_trap();
  }
  // 64 bytes: palette, first row, 14 reserved, 16 row lengths of 2 bytes, 16 numbers of rows.
  void Configure(const void* config) {
    uint8_t c[64];
    __builtin_memcpy(c, config, 64);
    Require(c[0] == 1);
    for (int i = 1; i < 16; ++i) Require(c[i] == 0);
    for (int t = 0; t < 16; ++t) {
      const int row_bytes = c[16 + 2 * t] | c[17 + 2 * t] << 8, rows = c[48 + t];
      Require((rows == 0) == (row_bytes == 0) && rows <= kRows && row_bytes <= kRowBytes);
      if (t >= kTiles) {
        Require(rows == 0);
        continue;
      }
      tile[t].rows = rows;
      tile[t].row_bytes = row_bytes;
      __builtin_memset(tile[t].bytes, 0, sizeof tile[t].bytes);
    }
    configured = true;
  }
  void Release() {
    for (Tile& t : tile) t.rows = t.row_bytes = 0;
    configured = false;
  }
  Tile& At(int t) {
    Require(configured && tile[t].rows > 0);
    return tile[t];
  }
  void Zero(int t) { __builtin_memset(At(t).bytes, 0, sizeof tile[t].bytes); }
  void Load(int t, const void* from, int64_t stride) {
    Tile& to = At(t);
    __builtin_memset(to.bytes, 0, sizeof to.bytes);
    for (int r = 0; r < to.rows; ++r) {
      __builtin_memcpy(to.bytes[r], static_cast<const uint8_t*>(from) + r * stride,
                       static_cast<size_t>(to.row_bytes));
    }
  }
  void Store(int t, void* to, int64_t stride) {
    const Tile& from = At(t);
    for (int r = 0; r < from.rows; ++r) {
      __builtin_memcpy(static_cast<uint8_t*>(to) + r * stride, from.bytes[r],
                       static_cast<size_t>(from.row_bytes));
    }
  }
  template <typename ByteOfB>
  void Dot(int c, int a, int b) {
    Require(c != a && c != b && a != b);
    Tile &sum = At(c), &x = At(a), &w = At(b);
    Require(sum.row_bytes % 4 == 0 && x.row_bytes % 4 == 0 && w.row_bytes % 4 == 0);
    Require(sum.rows == x.rows && sum.row_bytes == w.row_bytes && x.row_bytes / 4 == w.rows);
    for (int m = 0; m < sum.rows; ++m) {
      for (int n = 0; n < sum.row_bytes / 4; ++n) {
        uint32_t value;  // wraps around, as the instruction's
        __builtin_memcpy(&value, sum.bytes[m] + 4 * n, 4);
        for (int k = 0; k < w.rows; ++k) {
          for (int j = 0; j < 4; ++j) {
            value += static_cast<uint32_t>(static_cast<int8_t>(x.bytes[m][4 * k + j]) *
                                           static_cast<ByteOfB>(w.bytes[k][4 * n + j]));
          }
        }
        __builtin_memcpy(sum.bytes[m] + 4 * n, &value, 4);
      }
    }
  }
};
thread_local EmulatedTiles tiles;

#define RILL_TILE_CONFIGURE(...) tiles.Configure(__VA_ARGS__)
#define RILL_TILE_RELEASE() tiles.Release()
#define RILL_TILE_ZERO(T) tiles.Zero(T)
#define RILL_TILE_LOAD(T, from, stride) tiles.Load(T, from, stride)
#define RILL_TILE_STORE(T, to, stride) tiles.Store(T, to, stride)
#define RILL_TILE_DOT_SS(C, A, B) tiles.Dot<int8_t>(C, A, B)
#define RILL_TILE_DOT_SU(C, A, B) tiles.Dot<uint8_t>(C, A, B)
