// The fused pass: reads the grid, applies the curves, denoises, and rounds.
//
// Every step is defined by the Python package (ops/grid.py, curves.py, denoise.py, halving.py,
// enhancement.py), whose names are used here. A rectangle of the image is computed in pairs of
// rows. The values of the last few pairs are kept in buffers, which fit into the cache, and no
// value of full size goes to memory but the pixels themselves.
//
// Each row is kept as two phases, its even and its odd columns. So the halving and the doubling of
// the denoiser are plain additions of rows, and every loop over columns can be vectorized.
//
// CMake compiles this file and its headers once for each instruction set, in a namespace of its own.
#include "pass.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "blocks.hpp"
#include "numbers.hpp"

namespace zerodce::ZERODCE_ISA {
namespace {

constexpr float kNoise = 0.02f, kHalfSizeFactor = 0.7f, kColorFactor = 8.0f;
constexpr float kColorlessSteps = 5.6f, kLightlessSteps = 2.6f, kSmallStrength = 0.05f;
constexpr float kMinSlope = 1e-6f, kMinPower = 1e-30f;
constexpr int kWindows = 2;                // Means over 3x3 windows are taken twice.
constexpr int kHalo = kWindows + 1;        // Reach of the denoiser, in pixels at half size.
constexpr int kMeans = 7, kShares = 5;     // Planes at half size, before and after the filter.
// Rows of scratch memory: values and positions of both phases of a row, maps, sums over four pixels,
// sums over windows. When rows are written, the first are the results and the interpolated shares.
constexpr int kValues = 0, kPositions = 6, kMaps = 8, kSums = 9, kWindow = 12, kScratch = 13;
constexpr int kInterpolated = 6;
constexpr int kLevels = 6, kIterations = 8;  // Sizes with a loop of their own.

// `grid.cell_positions`.
inline float cell_position(int index, int size, int cells) {
    const float at = (static_cast<float>(index) + 0.5f) * (static_cast<float>(cells) / size) - 0.5f;
    return std::min(std::max(at, 0.0f), static_cast<float>(cells - 1));
}

// Rows of several planes, for the last few rows of an image.
class Ring {
   public:
    Ring(int rows, int planes, int width)
        : rows_(rows), planes_(planes), width_(width), data_(std::size_t(rows) * planes * width) {}
    float* at(int row, int plane) {
        return data_.data() + (std::size_t(row % rows_) * planes_ + plane) * width_;
    }

   private:
    int rows_, planes_, width_;
    std::vector<float> data_;
};

template <typename Pixel>
class RectanglePass {
   public:
    RectanglePass(const Pixel* in, Pixel* out, Image image, Rectangle place, Curves curves,
                  Finish finish)
        : in_(in), out_(out), image_(image), place_(place), curves_(curves), finish_(finish),
          halo_(finish.denoise ? kHalo : 0),
          half_height_((image.height + 1) / 2), half_width_((image.width + 1) / 2),
          left_(std::max(0, place.left / 2 - halo_)),
          right_(std::min(half_width_, (place.right + 1) / 2 + halo_)),
          count_(right_ - left_), stride_(count_ + 2),
          enhanced_(kHalo + 1, 12, stride_), means_(3, kMeans, stride_),
          twice_(3, kMeans, stride_), last_(1, kMeans, stride_), shares_(3, kShares, stride_),
          scratch_(std::size_t(kScratch) * stride_), cell_(2 * std::size_t(stride_)),
          offset_(2 * std::size_t(stride_)), grid_row_(std::size_t(curves.cells) * curves.levels * 3) {
        for (int phase = 0; phase < 2; ++phase) {
            for (int i = 0; i < count_; ++i) {
                const int x = std::min(2 * (left_ + i) + phase, image.width - 1);
                const float at = cell_position(x, image.width, curves.cells);
                const int cell = std::min(static_cast<int>(at), std::max(curves.cells - 2, 0));
                cell_[phase * stride_ + i] = cell;
                offset_[phase * stride_ + i] = at - static_cast<float>(cell);
            }
        }
    }

    void run() {
        const int first = place_.top / 2, last = (place_.bottom + 1) / 2;
        // Rows of each stage follow those of the stage before at a distance of one.
        for (int row = std::max(0, first - halo_); row < last + halo_; ++row) {
            if (row < half_height_) enhance_pair(row);
            if (!finish_.denoise) {
                write_pair(row);
                continue;
            }
            if (within(row - 1, first - 2, last + 2)) average(means_, twice_, row - 1);
            if (within(row - 2, first - 1, last + 1)) share(row - 2);
            if (within(row - 3, first, last)) write_pair(row - 3);
        }
    }

   private:
    bool within(int row, int first, int last) const {
        return row >= std::max(0, first) && row < std::min(half_height_, last);
    }

    float* scratch(int index) { return scratch_.data() + std::size_t(index) * stride_; }

    // Enhance two rows, and start the denoiser's means with them.
    void enhance_pair(int row) {
        float* sums[3] = {scratch(kSums), scratch(kSums + 1), scratch(kSums + 2)};
        for (float* sum : sums) std::fill_n(sum, count_, 0.0f);
        for (int parity = 0; parity < 2; ++parity) {
            const int y = std::min(2 * row + parity, image_.height - 1);
            read_grid(y);
            load(y);
            for (int phase = 0; phase < 2; ++phase) {
                float *values[3], *result[3];
                for (int c = 0; c < 3; ++c) {
                    values[c] = scratch(kValues + 3 * phase + c);
                    result[c] = enhanced_.at(row, 6 * parity + 3 * phase + c) + 1;
                    for (int i = 0; i < count_; ++i) sums[c][i] += values[c][i];
                }
                const float* position = scratch(kPositions + phase);
                if (curves_.levels == kLevels && curves_.iterations == kIterations)
                    apply<kLevels, kIterations>(phase, values, position, result);
                else
                    apply<0, 0>(phase, values, position, result);
            }
        }
        if (finish_.denoise) start_means(row, sums);
    }

    void read_grid(int y) {
        const int size = curves_.cells * curves_.levels * 3;
        const float at = cell_position(y, image_.height, curves_.cells);
        const int cell = std::min(static_cast<int>(at), std::max(curves_.cells - 2, 0));
        const float t = at - static_cast<float>(cell);
        const float* above = curves_.grid + std::size_t(cell) * size;
        const float* below = curves_.cells > 1 ? above + size : above;
        for (int i = 0; i < size; ++i) grid_row_[i] = above[i] + t * (below[i] - above[i]);
    }

    // Values and level positions of a row, by phases.
    void load(int y) {
        const Pixel* row = in_ + std::size_t(y) * image_.width * image_.channels;
        const int done = load_blocks(row);
        load<0>(row, done);
        load<1>(row, done);
    }

    template <int Phase>
    void load(const Pixel* row, int first) {
        const Scale<Pixel>& scale = Scale<Pixel>::get();
        const float top = static_cast<float>(curves_.levels - 1);
        float *r = scratch(kValues + 3 * Phase), *g = r + stride_, *b = g + stride_;
        float* position = scratch(kPositions + Phase);
        // A block beyond the edge repeats its pixels, which leaves its mean as it is.
        const int inside = (image_.width - Phase + 1) / 2 - left_;
        for (int i = first; i < count_; ++i) {
            const int x = 2 * (left_ + i) + (i < inside ? Phase : 0);
            const Pixel* pixel = row + std::size_t(x) * image_.channels;
            const int other = image_.channels == 1 ? 0 : 1;
            r[i] = scale.value(pixel[0]);
            g[i] = scale.value(pixel[other]);
            b[i] = scale.value(pixel[2 * other]);
            position[i] = top * scale.root(std::max(pixel[0], std::max(pixel[other], pixel[2 * other])));
        }
    }

    // Load 16 pixels of 8 bits at a time; return the number of columns that are loaded.
    int load_blocks(const Pixel* row) {
        int i = 0;
        if constexpr (std::is_same_v<Pixel, std::uint8_t>) {
            if (image_.channels == 1) return 0;
            for (; i + kFew <= count_ && 2 * (left_ + i + kFew) <= image_.width; i += kFew) {
                Bytes part[3];
                std::memcpy(part, row + std::size_t(6) * (left_ + i), sizeof part);
                load_block<0>(part, i);
                load_block<1>(part, i);
            }
        }
        return i;
    }

    template <int Phase>
    void load_block(const Bytes part[3], int i) {
        const Ints r = take<0, Phase>(part[0], part[1], part[2]);
        const Ints g = take<1, Phase>(part[0], part[1], part[2]);
        const Ints b = take<2, Phase>(part[0], part[1], part[2]);
        const Ints rg = r > g ? r : g, largest = rg > b ? rg : b;
        const Ints* channels[3] = {&r, &g, &b};
        for (int c = 0; c < 3; ++c) {
            const Floats values = __builtin_convertvector(*channels[c], Floats) / 255.0f;
            std::memcpy(scratch(kValues + 3 * Phase + c) + i, &values, sizeof values);
        }
        const float* roots = Scale<Pixel>::get().roots.data();
        const float top = static_cast<float>(curves_.levels - 1);
        float* position = scratch(kPositions + Phase) + i;
        for (int k = 0; k < kFew; ++k) position[k] = top * roots[largest[k]];
    }

    // Read the curve of each pixel and iterate it. Sizes of 0 stand for those of the network.
    template <int Levels, int Iterations>
    void apply(int phase, float* const values[3], const float* position, float* const result[3]) {
        const int levels = Levels ? Levels : curves_.levels;
        const int iterations = Iterations ? Iterations : curves_.iterations;
        const int* cell = cell_.data() + phase * stride_;
        const float* offset = offset_.data() + phase * stride_;
        const int next = curves_.cells > 1 ? 3 * levels : 0;
        for (int start = 0; start < count_;) {
            int end = start + 1;
            while (end < count_ && cell[end] == cell[start]) ++end;
            const float* left = grid_row_.data() + std::size_t(cell[start]) * levels * 3;
            const float* right = left + next;
            for (int c = 0; c < 3; ++c) {
                if constexpr (Levels > 0) {
                    float base[Levels], slope[Levels];
                    for (int k = 0; k < Levels; ++k) {
                        base[k] = left[3 * k + c];
                        slope[k] = right[3 * k + c] - base[k];
                    }
                    const float* __restrict__ x = values[c];
                    const float* __restrict__ p = position;
                    const float* __restrict__ t = offset;
                    float* __restrict__ y = result[c];
#pragma GCC ivdep
                    for (int i = start; i < end; ++i) {
                        float a = base[0] + t[i] * slope[0];
#pragma GCC unroll 16
                        for (int k = 1; k < Levels; ++k) {
                            const float ramp = std::min(std::max(p[i] - float(k - 1), 0.0f), 1.0f);
                            a += ramp * (base[k] + t[i] * slope[k]);
                        }
                        float v = x[i];
#pragma GCC unroll 16
                        for (int k = 0; k < Iterations; ++k) v += a * (v * v - v);
                        y[i] = v;
                    }
                } else {
                    float* maps = scratch(kMaps);
                    for (int i = start; i < end; ++i)
                        maps[i] = left[c] + offset[i] * (right[c] - left[c]);
                    for (int k = 1; k < levels; ++k) {
                        const float base = left[3 * k + c], slope = right[3 * k + c] - base;
                        for (int i = start; i < end; ++i) {
                            const float ramp = std::min(std::max(position[i] - float(k - 1), 0.0f), 1.0f);
                            maps[i] += ramp * (base + offset[i] * slope);
                        }
                    }
                    for (int i = start; i < end; ++i) result[c][i] = values[c][i];
                    for (int k = 0; k < iterations; ++k)
                        for (int i = start; i < end; ++i) {
                            const float v = result[c][i];
                            result[c][i] = v + maps[i] * (v * v - v);
                        }
                }
            }
            start = end;
        }
    }

    // The planes of `denoise.denoise` at half size, and the first means over windows.
    void start_means(int row, float* const sums[3]) {
        const float *e[3][4];
        for (int c = 0; c < 3; ++c)
            for (int part = 0; part < 4; ++part) e[c][part] = enhanced_.at(row, 3 * part + c) + 1;
        float* p[kMeans];
        for (int k = 0; k < kMeans; ++k) {
            float* plane = means_.at(row, k);
            plane[0] = plane[count_ + 1] = 0;
            p[k] = plane + 1;
        }
        for (int i = 0; i < count_; ++i) {
            const float r = (e[0][0][i] + e[0][1][i] + e[0][2][i] + e[0][3][i]) * 0.25f;
            const float g = (e[1][0][i] + e[1][1][i] + e[1][2][i] + e[1][3][i]) * 0.25f;
            const float b = (e[2][0][i] + e[2][1][i] + e[2][2][i] + e[2][3][i]) * 0.25f;
            const float luma = (r + g + b) * (1.0f / 3);
            // Computed like the brightness, so that both have the same bits where nothing changed.
            p[0][i] = (sums[0][i] * 0.25f + sums[1][i] * 0.25f + sums[2][i] * 0.25f) * (1.0f / 3);
            p[1][i] = luma;
            p[2][i] = luma * luma;
            const float cr = r - luma, cg = g - luma, cb = b - luma;
            p[3][i] = (cr * cr + cg * cg + cb * cb) * (1.0f / 3);
            p[4][i] = cr;
            p[5][i] = cg;
            p[6][i] = cb;
        }
    }

    // Means over 3x3 windows, of the pixels inside the image (`guided_filter.window_means`).
    void average(Ring& from, Ring& to, int row) {
        const bool has_above = row > 0, has_below = row + 1 < half_height_;
        const float rows = 1.0f + has_above + has_below;
        float* sum = scratch(kWindow);
        for (int k = 0; k < kMeans; ++k) {
            const float* here = from.at(row, k);
            const float* above = has_above ? from.at(row - 1, k) : nullptr;
            const float* below = has_below ? from.at(row + 1, k) : nullptr;
            float* result = to.at(row, k);
            for (int i = 0; i < stride_; ++i) sum[i] = here[i];
            if (above) for (int i = 0; i < stride_; ++i) sum[i] += above[i];
            if (below) for (int i = 0; i < stride_; ++i) sum[i] += below[i];
            const float share = 1 / (3 * rows);
            result[0] = result[count_ + 1] = 0;
            for (int i = 1; i <= count_; ++i) result[i] = (sum[i - 1] + sum[i] + sum[i + 1]) * share;
            // At the edges of the image, a column less counts; where there is only one, two less.
            if (half_width_ == 1) result[1] *= 3;
            else {
                if (left_ == 0) result[1] *= 1.5f;
                if (right_ == half_width_) result[count_] *= 1.5f;
            }
        }
    }

    static float part(float value, float eps) {
        const float square = eps * eps;
        return square / (value * value + square + kMinPower);
    }

    // The shares of `denoise.denoise` and what replaces them.
    void share(int row) {
        average(twice_, last_, row);
        const float* m[kMeans];
        for (int k = 0; k < kMeans; ++k) m[k] = last_.at(row, k) + 1;
        float* s[kShares];
        for (int k = 0; k < kShares; ++k) s[k] = shares_.at(row, k) + 1;
        const float deviation = finish_.strength * kNoise;
        const float noise_factor = kHalfSizeFactor * deviation * deviation;
        const float colorless = kColorlessSteps * finish_.rounding;
        const float trace_factor = finish_.strength * colorless * colorless;
        const float lightless = kLightlessSteps * finish_.rounding;
        const float black_factor = finish_.strength / (finish_.strength + kSmallStrength) *
                                   finish_.black * lightless * lightless;
#pragma GCC ivdep
        for (int i = 0; i < count_; ++i) {
            const float before = m[0][i], luma = m[1][i];
            const float r = m[4][i], g = m[5][i], b = m[6][i];
            const float gain = luma * (1 - luma) / std::max(before * (1 - before), kMinSlope);
            const float excess = std::max(gain - 1, 0.0f), amplification = excess * excess;
            const float noise = noise_factor * amplification;
            const float luma_share = part(m[2][i] - luma * luma, noise);
            float color_share =
                part(m[3][i] - (r * r + g * g + b * b) * (1.0f / 3), kColorFactor * noise);
            const float largest = luma + std::max(r, std::max(g, b)), square = largest * largest;
            const float colored = 1 - part(square, trace_factor * amplification);
            const float lit = 1 - part(square, black_factor * amplification);
            const float kept = colored * color_share;
            color_share = 1 - colored * (1 - color_share);
            s[0][i] = 1 - lit * (1 - color_share);
            s[1][i] = lit * (color_share - luma_share);
            s[2][i] = before + lit * (luma_share * luma + kept * r - before);
            s[3][i] = before + lit * (luma_share * luma + kept * g - before);
            s[4][i] = before + lit * (luma_share * luma + kept * b - before);
        }
        // Beyond the edges of the image, the interpolation repeats the outermost values.
        for (int k = 0; k < kShares; ++k) {
            s[k][-1] = s[k][0];
            s[k][count_] = s[k][count_ - 1];
        }
    }

    void write_pair(int row) {
        for (int parity = 0; parity < 2; ++parity) {
            const int y = 2 * row + parity;
            if (y < place_.top || y >= place_.bottom) continue;
            if (finish_.denoise) interpolate_rows(row, parity);
            for (int phase = 0; phase < 2; ++phase) {
                const float* e[3];
                float* result[3];
                for (int c = 0; c < 3; ++c) {
                    e[c] = enhanced_.at(row, 6 * parity + 3 * phase + c) + 1;
                    result[c] = scratch(kValues + 3 * phase + c);
                    if (!finish_.denoise) std::copy_n(e[c], count_, result[c]);
                }
                if (finish_.denoise) filter(phase, e, result);
                if (finish_.gamma != 1) apply_gamma(result);
            }
            store(y);
        }
    }

    // `halving.double`, along the columns: into scratch memory.
    void interpolate_rows(int row, int parity) {
        const int other = std::clamp(parity ? row + 1 : row - 1, 0, half_height_ - 1);
        for (int k = 0; k < kShares; ++k) {
            const float *here = shares_.at(row, k), *there = shares_.at(other, k);
            float* t = scratch(kInterpolated + k);
            for (int i = 0; i < stride_; ++i) t[i] = here[i] + 0.25f * (there[i] - here[i]);
        }
    }

    void filter(int phase, const float* const e[3], float* const result[3]) {
        const int side = phase ? 1 : -1;
        const float* t[kShares];
        for (int k = 0; k < kShares; ++k) t[k] = scratch(kInterpolated + k) + 1;
        float *r = result[0], *g = result[1], *b = result[2];
#pragma GCC ivdep
        for (int i = 0; i < count_; ++i) {
            float s[kShares];
#pragma GCC unroll 8
            for (int k = 0; k < kShares; ++k) s[k] = t[k][i] + 0.25f * (t[k][i + side] - t[k][i]);
            const float luma = (e[0][i] + e[1][i] + e[2][i]) * (1.0f / 3);
            const float keep = 1 - s[0], add = s[1] * luma;
            r[i] = std::min(std::max(keep * e[0][i] + (add + s[2]), 0.0f), 1.0f);
            g[i] = std::min(std::max(keep * e[1][i] + (add + s[3]), 0.0f), 1.0f);
            b[i] = std::min(std::max(keep * e[2][i] + (add + s[4]), 0.0f), 1.0f);
        }
    }

    void apply_gamma(float* const result[3]) const {
        for (int c = 0; c < 3; ++c)
            for (int i = 0; i < count_; ++i) {
                const float x = result[c][i];
                const float power = fast_exp2(finish_.gamma * fast_log2(std::max(x, 1e-30f)));
                result[c][i] = x > 0 ? power : 0;
            }
    }

    static Pixel to_pixel(float x) {
        if constexpr (std::is_integral_v<Pixel>)
            return static_cast<Pixel>(static_cast<std::int32_t>(x * Scale<Pixel>::kMax + 0.5f));
        else
            return std::min(std::max(x, 0.0f), 1.0f);
    }

    void store(int y) {
        Pixel* row = out_ + (std::size_t(y) * image_.width + 2 * left_) * image_.channels;
        const int done = store_blocks(row);
        store<0>(row, done);
        store<1>(row, done);
    }

    template <int Phase>
    void store(Pixel* row, int first) {
        const float *r = scratch(kValues + 3 * Phase), *g = r + stride_, *b = g + stride_;
        const int end = std::min(count_, (place_.right - Phase + 1) / 2 - left_);
        for (int i = first; i < end; ++i) {
            Pixel* pixel = row + (std::size_t(2) * i + Phase) * image_.channels;
            if (image_.channels == 1) {
                *pixel = to_pixel(r[i] + ((g[i] - r[i]) + (b[i] - r[i])) * (1.0f / 3));
                continue;
            }
            pixel[0] = to_pixel(r[i]);
            pixel[1] = to_pixel(g[i]);
            pixel[2] = to_pixel(b[i]);
        }
    }

    // Store 16 pixels of 8 bits at a time; return the first column that is left.
    int store_blocks(Pixel* row) {
        int i = place_.left / 2 - left_;
        if constexpr (std::is_same_v<Pixel, std::uint8_t>) {
            const int end = std::min(count_, place_.right / 2 - left_);
            for (; image_.channels == 3 && i + kFew <= end; i += kFew) {
                const Bytes r = rounded(0, i), g = rounded(1, i), b = rounded(2, i);
                const Bytes part[3] = {mix<0>(r, g, b), mix<1>(r, g, b), mix<2>(r, g, b)};
                std::memcpy(row + std::size_t(6) * i, part, sizeof part);
            }
        }
        return i;
    }

    Bytes rounded(int channel, int i) {
        return to_bytes(scratch(kValues + channel) + i, scratch(kValues + 3 + channel) + i);
    }

    const Pixel* in_;
    Pixel* out_;
    Image image_;
    Rectangle place_;
    Curves curves_;
    Finish finish_;
    int halo_, half_height_, half_width_;
    int left_, right_, count_, stride_;  // Columns at half size, with the halo.
    Ring enhanced_, means_, twice_, last_, shares_;
    std::vector<float> scratch_;
    std::vector<int> cell_;
    std::vector<float> offset_, grid_row_;
};

}  // namespace

template <typename Pixel>
void pass(const Pixel* in, Pixel* out, Image image, Rectangle place, Curves curves, Finish finish) {
    RectanglePass<Pixel>(in, out, image, place, curves, finish).run();
}

template void pass(const std::uint8_t*, std::uint8_t*, Image, Rectangle, Curves, Finish);
template void pass(const std::uint16_t*, std::uint16_t*, Image, Rectangle, Curves, Finish);
template void pass(const float*, float*, Image, Rectangle, Curves, Finish);

}  // namespace zerodce::ZERODCE_ISA
