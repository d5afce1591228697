// Loads and stores 16 pixels of 8 bits at a time. Part of pass.cpp.
//
// Compilers turn these shuffles into those of the processor; loops over single bytes, which lie three
// apart, they would not vectorize.
#pragma once

#include <cstdint>
#include <cstring>

namespace zerodce::ZERODCE_ISA {
namespace {

using Bytes = std::uint8_t __attribute__((vector_size(16)));
using Few = std::uint8_t __attribute__((vector_size(8)));
using Ints = std::int32_t __attribute__((vector_size(32)));
using Floats = float __attribute__((vector_size(32)));
constexpr int kFew = 8;  // Columns of one phase among 16 pixels.

// The bytes of `a` and `b` at some places: 0 to 15 are those of `a`, 16 to 31 those of `b`.
inline Bytes shuffle(Bytes a, Bytes b, Bytes places) {
#ifdef __clang__
    // Clang has no such function, but finds the instruction for this loop.
    Bytes result;
    for (int k = 0; k < 16; ++k) result[k] = places[k] < 16 ? a[places[k]] : b[places[k] - 16];
    return result;
#else
    return __builtin_shuffle(a, b, places);
#endif
}

// Of 48 bytes, those that belong to one channel (0 to 2) and one phase (0 or 1), as numbers.
template <int Channel, int Phase>
inline Ints take(Bytes a, Bytes b, Bytes c) {
    Bytes first, second;
    for (int k = 0; k < 16; ++k) {
        const int at = 6 * (k % kFew) + 3 * Phase + Channel;
        first[k] = at < 32 ? at : 0;
        second[k] = at < 32 ? k : at - 16;
    }
    const Bytes taken = shuffle(shuffle(a, b, first), c, second);
    Few few;
    std::memcpy(&few, &taken, sizeof few);
    return __builtin_convertvector(few, Ints);
}

// Of 16 pixels, block 0 to 2 of their 48 bytes, from the bytes of each channel: its even columns and
// then its odd ones.
template <int Block>
inline Bytes mix(Bytes r, Bytes g, Bytes b) {
    Bytes first, second;
    for (int k = 0; k < 16; ++k) {
        const int at = 16 * Block + k, pixel = at / 3, channel = at % 3;
        const int place = pixel % 2 * kFew + pixel / 2;
        first[k] = channel == 1 ? 16 + place : place;
        second[k] = channel == 2 ? 16 + place : k;
    }
    return shuffle(shuffle(r, g, first), b, second);
}

// The bytes of 8 values, each the lowest byte of an integer.
inline Bytes lowest_bytes(const float* values) {
    static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the lowest byte must come first");
    Floats few;
    std::memcpy(&few, values, sizeof few);
    const Ints whole = __builtin_convertvector(few * 255.0f + 0.5f, Ints);
    Bytes halves[2];
    std::memcpy(halves, &whole, sizeof halves);
    return shuffle(halves[0], halves[1],
                   Bytes{0, 4, 8, 12, 16, 20, 24, 28, 0, 4, 8, 12, 16, 20, 24, 28});
}

// Values in [0, 1] of one channel as bytes: 8 even columns and then 8 odd ones.
inline Bytes to_bytes(const float* even, const float* odd) {
    return shuffle(lowest_bytes(even), lowest_bytes(odd),
                   Bytes{0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23});
}

}  // namespace
}  // namespace zerodce::ZERODCE_ISA
