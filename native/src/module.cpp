// The Python module zerodce_native.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
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

// Largest height, width and number of values of the grid: twice as many still fit into an int.
constexpr std::size_t kMaxSize = std::size_t(1) << 29;

template <typename Pixel>
using Pixels = nb::ndarray<Pixel, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using Grid = nb::ndarray<const float, nb::ndim<4>, nb::c_contig, nb::device::cpu>;

// Raise a ValueError in Python.
void require(bool condition, const char* message) {
    if (!condition) throw std::invalid_argument(message);
}

// NumPy makes arrays that begin anywhere in a buffer; processors and compilers expect them aligned.
template <typename Array>
bool is_aligned(const Array& array) {
    return reinterpret_cast<std::uintptr_t>(array.data()) % sizeof(*array.data()) == 0;
}

template <typename Array, typename Other>
bool overlap(const Array& array, const Other& other) {
    const auto begin = reinterpret_cast<std::uintptr_t>(array.data());
    const auto other_begin = reinterpret_cast<std::uintptr_t>(other.data());
    return begin < other_begin + other.nbytes() && other_begin < begin + array.nbytes();
}

// Whether the maps of all levels lie in [-1, 1], where the curves keep pixels in [0, 1]. NaN does not.
bool holds_maps(const Grid& grid) {
    const std::size_t levels = grid.shape(2);
    const float* differences = grid.data();
    for (std::size_t cell = 0; cell < grid.shape(0) * grid.shape(1); ++cell) {
        float map[3] = {};
        for (std::size_t i = 0; i < 3 * levels; ++i) {
            map[i % 3] += *differences++;
            // The sum of differences is rounded.
            if (!(std::abs(map[i % 3]) <= 1.0001f)) return false;
        }
    }
    return true;
}

template <typename Pixel>
void enhance(Pixels<const Pixel> pixels, Pixels<Pixel> out, std::array<int, 4> box, Grid grid,
             int iterations, bool denoise, float strength, float rounding, float black, float gamma,
             const std::optional<std::string>& instructions) {
    for (int axis = 0; axis < 3; ++axis) {
        require(pixels.shape(axis) == out.shape(axis), "pixels and out must have the same shape");
        require(pixels.shape(axis) <= kMaxSize, "the image is too large");
    }
    const Image image{int(pixels.shape(0)), int(pixels.shape(1)), int(pixels.shape(2))};
    require(image.channels == 1 || image.channels == 3, "images must have 1 or 3 channels");
    require(is_aligned(pixels) && is_aligned(out) && is_aligned(grid), "arrays must be aligned");
    require(!overlap(pixels, out), "pixels and out must not overlap");
    const Rectangle place{box[0], box[1], box[2], box[3]};
    require(place.top >= 0 && place.left >= 0 && place.top % 2 == 0 && place.left % 2 == 0 &&
                place.top < place.bottom && place.left < place.right &&
                place.bottom <= image.height && place.right <= image.width,
            "the box must lie in the image and begin at even places");
    require(grid.shape(0) == grid.shape(1) && grid.shape(3) == 3 && grid.size() > 0,
            "the grid must be (cells, cells, levels, 3)");
    require(grid.size() <= kMaxSize, "the grid is too large");
    require(holds_maps(grid), "the maps of the grid must lie in [-1, 1]");
    const Curves curves{grid.data(), int(grid.shape(0)), int(grid.shape(2)), iterations};
    for (float number : {strength, rounding, black})
        require(number >= 0 && std::isfinite(number), "strength, rounding and black must be >= 0");
    require(gamma > 0 && std::isfinite(gamma), "gamma must be above 0, and finite");
    const Finish finish{denoise, strength, rounding, black, gamma};
    static const std::vector<std::string> known = instruction_sets();
    const std::string& chosen = instructions ? *instructions : known.front();
    require(std::find(known.begin(), known.end(), chosen) != known.end(), "unknown instructions");
    const Pass<Pixel> pass = pass_for<Pixel>(chosen);
    const Pixel* in = pixels.data();
    Pixel* result = out.data();
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
               "Enhance the pixels in a box (top, left, bottom, right) of an image, into `out`.\n\n"
               "The GIL is released: other threads must not change the arrays meanwhile. Floats must\n"
               "lie in [0, 1]. Raises ValueError for arguments that do not fit.");
}

NB_MODULE(zerodce_native, module) {
    module.doc() = "The fused pass of scene networks for CPUs.";
    module.attr("INSTRUCTION_SETS") = nb::tuple(nb::cast(zerodce::instruction_sets()));
    define<std::uint8_t>(module);
    define<std::uint16_t>(module);
    define<float>(module);
}
