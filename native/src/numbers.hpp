// Logarithms, powers, and what the values of pixels stand for. Part of pass.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>
#include <vector>

namespace zerodce::ZERODCE_ISA {
namespace {

constexpr float kLevelExponent = 0.4f, kMinBrightness = 1e-7f;

// 2^x and log2(x) as polynomials, to 1e-6 and better; x > 0 and normal.
inline float fast_log2(float x) {
    std::int32_t bits;
    std::memcpy(&bits, &x, sizeof bits);
    const std::int32_t exponent = (bits - 0x3f3504f3) >> 23;
    bits -= exponent * (1 << 23);  // A shift of a negative number is not defined.
    float m;
    std::memcpy(&m, &bits, sizeof m);
    const float s = (m - 1) / (m + 1), q = s * s;
    // 2 / ln 2 times the series of artanh.
    const float series = 2.8853900818f + q * (0.9617966939f + q * (0.5770780164f + q * 0.412198583f));
    return static_cast<float>(exponent) + s * series;
}

inline float fast_exp2(float x) {
    x = std::min(std::max(x, -126.0f), 127.0f);
    const float whole = static_cast<float>(static_cast<std::int32_t>(x - 1.0f) + 1);
    const float f = (x - whole) * 0.69314718056f;  // In (-1, 1) ln 2; |x| is below 127.
    const float power =
        1 + f * (1 + f * (0.5f + f * (1.0f / 6 + f * (1.0f / 24 + f * (1.0f / 120 + f * (1.0f / 720 + f * (1.0f / 5040)))))));
    const std::int32_t bits = (static_cast<std::int32_t>(whole) + 127) << 23;
    float scale;
    std::memcpy(&scale, &bits, sizeof scale);
    return power * scale;
}

// Values of pixels in [0, 1], and their roots, which give the position among the levels. Tables hold
// those of whole numbers.
template <typename Pixel>
struct Scale {
    static constexpr float kMax = std::is_integral_v<Pixel> ? std::numeric_limits<Pixel>::max() : 1;
    static constexpr int kCount = std::is_integral_v<Pixel> ? static_cast<int>(kMax) + 1 : 0;
    std::vector<float> values, roots;
    Scale() : values(kCount), roots(kCount) {
        for (int i = 0; i < kCount; ++i) {
            values[i] = static_cast<float>(i) / kMax;
            roots[i] = std::pow(std::max(values[i], kMinBrightness), kLevelExponent);
        }
    }
    static const Scale& get() {
        static const Scale scale;
        return scale;
    }
    float value(Pixel p) const {
        if constexpr (std::is_integral_v<Pixel>) return values[p];
        else return p;
    }
    float root(Pixel p) const {
        if constexpr (std::is_integral_v<Pixel>) return roots[p];
        else return fast_exp2(kLevelExponent * fast_log2(std::max(p, kMinBrightness)));
    }
};

}  // namespace
}  // namespace zerodce::ZERODCE_ISA
