// The tile unit of isa/amx.cc: eight registers of up to 16 rows of 64 bytes, as gemm_amx.inl uses
// them. T, A, B, C are register numbers, literals 0 to 7: they become part of the instruction.
// isa/tiles_emulated.inl is the same in plain C++.
#define RILL_TILE_CONFIGURE(...) _tile_loadconfig(__VA_ARGS__)
#define RILL_TILE_RELEASE() _tile_release()
#define RILL_TILE_ZERO(T) _tile_zero(T)
#define RILL_TILE_LOAD(T, from, stride) _tile_loadd(T, from, stride)
#define RILL_TILE_STORE(T, to, stride) _tile_stored(T, to, stride)
// C += A B over quads of bytes, A signed; B signed, or unsigned.
#define RILL_TILE_DOT_SS(C, A, B) _tile_dpbssd(C, A, B)
#define RILL_TILE_DOT_SU(C, A, B) _tile_dpbsud(C, A, B)
