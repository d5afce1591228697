// The Python module zerodce_native.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "pass.hpp"

namespace nb = nanobind;

namespace zerodce {

#define ZERODCE_DECLARE(ISA)                                                              \
    namespace ISA {                                                                       \
    template <typename Pixel>                                                             \
    void pass(const Pixel*, Pixel*, Image, Rectangle, Curves, Finish);                    \
    extern template void pass(const std::uint8_t*, std::uint8_t*, Image, Rectangle, Curves, Finish);   \
    extern template void pass(const std::uint16_t*, std::uint16_t*, Image, Rectangle, Curves, Finish); \
    extern template void pass(const float*, float*, Image, Rectangle, Curves, Finish);    \
    }
ZERODCE_DECLARE(baseline)
#ifdef ZERODCE_X86
ZERODCE_DECLARE(avx2)
#endif

// The sets of instructions that the pass is compiled for and this processor has, the best first.
std::vector<std::string> instruction_sets() {
    std::vector<std::string> sets;
#ifdef ZERODCE_X86
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) sets.push_back("avx2");
#endif
    sets.push_back("baseline");
    return sets;
}

template <typename Pixel>
Pass<Pixel> pass_for(std::string_view instructions) {
#ifdef ZERODCE_X86
    if (instructions == "avx2") return avx2::pass<Pixel>;
#endif
    return baseline::pass<Pixel>;
}

template <typename Pixel>
using Pixels = nb::ndarray<Pixel, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Grid = nb::ndarray<const float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

template <typename Pixel>
void enhance(Pixels<const Pixel> pixels, Pixels<Pixel> out, std::array<int, 4> box, Grid grid,
             int iterations, bool denoise, float strength, float rounding, float black, float gamma,
             const std::optional<std::string>& instructions) {
    const Image image{int(pixels.shape(0)), int(pixels.shape(1)), int(pixels.shape(2))};
    const Rectangle place{box[0], box[1], box[2], box[3]};
    for (int axis = 0; axis < 3; ++axis)
        if (pixels.shape(axis) != out.shape(axis))
            throw std::invalid_argument("pixels and out must have the same shape");
    if (image.channels != 1 && image.channels != 3)
        throw std::invalid_argument("images must have 1 or 3 channels");
    if (place.top < 0 || place.left < 0 || place.top % 2 || place.left % 2 ||
        place.bottom > image.height || place.right > image.width || place.top >= place.bottom ||
        place.left >= place.right)
        throw std::invalid_argument("the box must lie in the image and begin at even places");
    if (grid.shape(0) != grid.shape(1) || !grid.shape(0) || !grid.shape(2) || grid.shape(3) != 3)
        throw std::invalid_argument("the grid must be (cells, cells, levels, 3)");
    const Curves curves{grid.data(), int(grid.shape(0)), int(grid.shape(2)), iterations};
    const Finish finish{denoise, strength, rounding, black, gamma};
    const Pixel* in = pixels.data();
    Pixel* result = out.data();
    static const std::vector<std::string> known = instruction_sets();
    const std::string& chosen = instructions ? *instructions : known.front();
    if (std::find(known.begin(), known.end(), chosen) == known.end())
        throw std::invalid_argument("unknown instructions");
    const Pass<Pixel> pass = pass_for<Pixel>(chosen);
    nb::gil_scoped_release release;
    pass(in, result, image, place, curves, finish);
}

}  // namespace zerodce

template <typename Pixel>
void define(nb::module_& module) {
    module.def("enhance", &zerodce::enhance<Pixel>, nb::arg("pixels").noconvert(),
               nb::arg("out").noconvert(), nb::arg("box"), nb::arg("grid").noconvert(), nb::kw_only(),
               nb::arg("iterations"), nb::arg("denoise"), nb::arg("strength"), nb::arg("rounding"),
               nb::arg("black"), nb::arg("gamma"), nb::arg("instructions") = nb::none(),
               "Enhance the pixels in a box (top, left, bottom, right) of an image, into `out`.");
}

NB_MODULE(zerodce_native, module) {
    module.doc() = "The fused pass of scene networks for CPUs.";
    module.attr("INSTRUCTION_SETS") = nb::tuple(nb::cast(zerodce::instruction_sets()));
    define<std::uint8_t>(module);
    define<std::uint16_t>(module);
    define<float>(module);
}
