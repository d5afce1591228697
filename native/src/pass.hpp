// The fused pass of a scene network over an image: from pixels to pixels.
#pragma once

#include <cstdint>

namespace zerodce {

// The pass trusts its arguments; the module checks them. Sizes are in pixels.
struct Image {
    int height, width;
    int channels;  // 3, or 1 for a gray image.
};

// The part of the image to enhance.
struct Rectangle {
    int top, left, bottom, right;  // The top and the left are even.
};

struct Curves {
    // (cells, cells, levels, 3): the maps of the lowest level, and from each level to the next the
    // difference. `grid.limit_levels` has limited them.
    const float* grid;
    int cells, levels, iterations;
};

// The steps after the curves.
struct Finish {
    bool denoise;
    float strength, rounding, black;  // The arguments of `denoise.denoise`.
    float gamma;
};

// Reads the pixels of the image, and writes those of the rectangle to an image of the same size. Float
// pixels lie in [0, 1]; the curves of the grid in [-1, 1].
template <typename Pixel>
using Pass = void (*)(const Pixel*, Pixel*, Image, Rectangle, Curves, Finish);

}  // namespace zerodce
