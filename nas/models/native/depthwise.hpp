// Depthwise 3x3 convolution (stride 1, padding 1) followed by batch norm and ReLU.
//
// It runs image by image, so that each step finds the output of the one before in the L2 cache.
// A row of the result needs three rows of the input. A window of three pixels slides along them
// and loads each pixel once. Weights and their gradient are [9, C] here, taps first.

#pragma once

#include "norm.hpp"

constexpr i64 kImages = 8;  // images whose weight gradients are summed before they are stored

// The rows above, at and below row i of an image; zeros outside of it.
template <class T>
struct ThreeRows {
  const T *row[3];
  ThreeRows(const T *image, i64 H, i64 WC, i64 i, const T *zeros)
      : row{i > 0 ? image + (i - 1) * WC : zeros, image + i * WC,
            i + 1 < H ? image + (i + 1) * WC : zeros} {}
};

// y[j] = sum_uv x[u][j + v - 1] * weight[u][v] for the channels of one pack.
template <class P, class T>
void convolve_row(const ThreeRows<T> &x, i64 W, i64 C, i64 c, const T *weight, T *y) {
  P w[3][3], left[3], here[3], right[3];
  for (int u = 0; u < 3; ++u) {
    for (int v = 0; v < 3; ++v) w[u][v] = load<P>(weight + (3 * u + v) * C + c);
    left[u] = P{};
    here[u] = load<P>(x.row[u] + c);
  }
  for (i64 j = 0; j < W; ++j) {
    P sum{};
    for (int u = 0; u < 3; ++u) {
      right[u] = j + 1 < W ? load<P>(x.row[u] + (j + 1) * C + c) : P{};
      sum += left[u] * w[u][0] + here[u] * w[u][1] + right[u] * w[u][2];
      left[u] = here[u];
      here[u] = right[u];
    }
    store(y + j * C + c, sum);
  }
}

// The transposed convolution, dx[j] = sum_uv dy[2 - u][j - v + 1] * weight[u][v], and the
// weights' gradient, dweight[u][v] += sum_j dy[2 - u][j - v + 1] * x[j].
template <class P, class T>
void convolve_row_back(const ThreeRows<T> &dy, const T *x, i64 W, i64 C, i64 c, const T *weight,
                       T *dx, T *dweight) {
  P w[3][3], dw[3][3], left[3], here[3], right[3];
  for (int u = 0; u < 3; ++u) {
    for (int v = 0; v < 3; ++v) {
      w[u][v] = load<P>(weight + (3 * u + v) * C + c);
      dw[u][v] = load<P>(dweight + (3 * u + v) * C + c);
    }
    left[u] = P{};
    here[u] = load<P>(dy.row[2 - u] + c);
  }
  for (i64 j = 0; j < W; ++j) {
    const P pixel = load<P>(x + j * C + c);
    P sum{};
    for (int u = 0; u < 3; ++u) {
      right[u] = j + 1 < W ? load<P>(dy.row[2 - u] + (j + 1) * C + c) : P{};
      sum += right[u] * w[u][0] + here[u] * w[u][1] + left[u] * w[u][2];
      dw[u][0] += right[u] * pixel;
      dw[u][1] += here[u] * pixel;
      dw[u][2] += left[u] * pixel;
      left[u] = here[u];
      here[u] = right[u];
    }
    store(dx + j * C + c, sum);
  }
  for (int u = 0; u < 3; ++u)
    for (int v = 0; v < 3; ++v) store(dweight + (3 * u + v) * C + c, dw[u][v]);
}

// From torch's [C, 3, 3] to [9, C].
template <class T>
std::vector<T> taps_first(const T *weight, i64 C) {
  std::vector<T> taps(9 * C);
  for (i64 c = 0; c < C; ++c)
    for (i64 t = 0; t < 9; ++t) taps[t * C + c] = weight[c * 9 + t];
  return taps;
}

// x, convolved and y are [B, H, W, C]; writes convolved, y, mean [C] and invstd [C].
template <class T>
void depthwise_forward(const T *x, i64 B, i64 H, i64 W, i64 C, const T *weight,
                       const BatchNorm<T> &norm, T *convolved, T *y, T *mean, T *invstd) {
  const std::vector<T> taps = taps_first(weight, C), zeros(W * C, T(0));
  const Chunks images{B * H * W, H * W};
  prefer_huge_pages(convolved, B * H * W * C);
  std::vector<T> mu(B * C), m2(B * C);
#pragma omp parallel for schedule(static) if (images.total * C > kParallel)
  for (i64 b = 0; b < B; ++b) {
    const T *image = x + b * H * W * C;
    T *out = convolved + b * H * W * C;
    for (i64 i = 0; i < H; ++i) {
      const ThreeRows<T> rows(image, H, W * C, i, zeros.data());
      for_packs<T>(C, [&](auto pack, i64 c) {
        convolve_row<typename decltype(pack)::type>(rows, W, C, c, taps.data(), out + i * W * C);
      });
    }
    row_moments(out, H * W, C, &mu[b * C], &m2[b * C]);
  }
  combine(mu.data(), m2.data(), images, C, 1, norm, mean, invstd);
  scale_chunks<T>(convolved, nullptr, true, images, {mean, invstd, norm.weight, norm.bias, C, 1},
                  y);
}

// For inference: relu(convolution + bias), where both contain the norm; writes y [B, H, W, C].
template <class T>
void depthwise_relu(const T *x, i64 B, i64 H, i64 W, i64 C, const T *weight, const T *bias, T *y) {
  prefer_huge_pages(y, B * H * W * C);
  const std::vector<T> taps = taps_first(weight, C), zeros(W * C, T(0));
#pragma omp parallel for schedule(static) if (B * H * W * C > kParallel)
  for (i64 b = 0; b < B; ++b)
    for (i64 i = 0; i < H; ++i) {
      const ThreeRows<T> rows(x + b * H * W * C, H, W * C, i, zeros.data());
      T *__restrict out = y + (b * H + i) * W * C;
      for_packs<T>(C, [&](auto pack, i64 c) {
        convolve_row<typename decltype(pack)::type>(rows, W, C, c, taps.data(), out);
      });
      for (i64 j = 0; j < W; ++j, out += C)
#pragma omp simd
        for (i64 c = 0; c < C; ++c) out[c] = std::max(out[c] + bias[c], T(0));
    }
}

// Writes dx, dconv [C, 3, 3], and dweight and dbias [C] of the norm.
template <class T>
void depthwise_backward(const T *dy, const T *x, const T *convolved, i64 B, i64 H, i64 W, i64 C,
                        const T *conv, const T *weight, const T *bias, const T *mean,
                        const T *invstd, T *dx, T *dconv, T *dweight, T *dbias) {
  const std::vector<T> taps = taps_first(conv, C), zeros(W * C, T(0));
  const Chunks images{B * H * W, H * W}, groups{B, kImages};
  prefer_huge_pages(dx, B * H * W * C);
  const Scales<T> by(mean, invstd, weight, bias, C, 1);
  const NormGradient<T> of(dy, convolved, true, images, C, 1, by, invstd, dweight, dbias);
  std::vector<T> dtaps(groups.count() * 9 * C, T(0));
#pragma omp parallel for schedule(static) if (images.total * C > kParallel)
  for (i64 g = 0; g < groups.count(); ++g) {
    std::vector<T> gradient(H * W * C);  // with respect to one image's convolution
    for (i64 b = g * kImages; b < g * kImages + groups.size(g); ++b) {
      const i64 at = b * H * W * C;
      gradient_rows<T, true>(dy + at, convolved + at, H * W, C, by.scale.data(), by.shift.data(),
                             of.constant.data(), of.slope.data(), gradient.data());
      for (i64 i = 0; i < H; ++i) {
        const ThreeRows<T> rows(gradient.data(), H, W * C, i, zeros.data());
        const i64 row = at + i * W * C;
        for_packs<T>(C, [&](auto pack, i64 c) {
          convolve_row_back<typename decltype(pack)::type>(rows, x + row, W, C, c, taps.data(),
                                                           dx + row, &dtaps[g * 9 * C]);
        });
      }
    }
  }
  for (i64 c = 0; c < C; ++c)
    for (i64 t = 0; t < 9; ++t) {
      double sum = 0;
      for (i64 g = 0; g < groups.count(); ++g) sum += dtaps[(g * 9 + t) * C + c];
      dconv[c * 9 + t] = T(sum);
    }
}
