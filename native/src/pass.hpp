// The fused pass of a scene network over an image: from pixels to pixels.
#pragma once

#include <cstdint>

namespace zerodce {

// An image, the curves to apply to it, and what else to do. Sizes are in pixels.
struct Image {
    int height, width;
    int channels;  // 3, or 1 for a gray image.
};

struct Rectangle {
    int top, left, bottom, right;  // The top and the left are even.
};

struct Curves {
    // (cells, cells, levels, 3): the maps of the lowest level, and from each level to the next the
    // difference. `grid.limit_levels` has limited them.
    const float* grid;
    int cells, levels, iterations;
};

struct Finish {
    bool denoise;
    float strength, rounding, black;  // The arguments of `denoise.denoise`.
    float gamma;
};

template <typename Pixel>
using Pass = void (*)(const Pixel*, Pixel*, Image, Rectangle, Curves, Finish);

}  // namespace zerodce
