// Batch norm, with a ReLU or a shortcut after it.

#pragma once

#include "rows.hpp"

constexpr i64 kChunk = 16384;  // elements of a chunk of rows: it stays in the L2 cache

// Narrow rows are joined, G rows of C channels into one of G * C, so that vectors are full.
inline i64 joined_rows(i64 n, i64 C) {
  i64 G = 1;
  while (C * G < 32 && n % (2 * G) == 0) G *= 2;
  return G;
}

inline Chunks joined_chunks(i64 n, i64 C, i64 G) {
  return {n / G, std::max<i64>(1, kChunk / (C * G))};
}

// Per-channel values, repeated for joined rows: each is [G * C].
template <class T>
struct Scales {
  std::vector<T> mean, scale, shift;  // y = x * scale + shift

  Scales(const T *mean_C, const T *invstd_C, const T *weight, const T *bias, i64 C, i64 G)
      : mean(G * C), scale(G * C), shift(G * C) {
    for (i64 i = 0; i < G * C; ++i) {
      mean[i] = mean_C[i % C];
      scale[i] = weight[i % C] * invstd_C[i % C];
      shift[i] = bias[i % C] - mean[i] * scale[i];
    }
  }
};

// From the moments of chunks of joined rows, [chunks, G * C], to those of all n rows, [C].
template <class T>
void combine(const T *mu, const T *m2, Chunks chunks, i64 C, i64 G, const BatchNorm<T> &norm,
             T *mean, T *invstd) {
  const i64 W = C * G, n = chunks.total * G;
  for (i64 c = 0; c < C; ++c) {
    double sum = 0, squares = 0;
    for (i64 i = 0; i < chunks.count(); ++i)
      for (i64 j = c; j < W; j += C) sum += double(mu[i * W + j]) * chunks.size(i);
    const double m = sum / n;
    for (i64 i = 0; i < chunks.count(); ++i)
      for (i64 j = c; j < W; j += C) {
        const double d = mu[i * W + j] - m;
        squares += m2[i * W + j] + d * d * chunks.size(i);
      }
    norm.update_running(c, m, squares / n, n);
    mean[c] = T(m);
    invstd[c] = T(1 / std::sqrt(squares / n + norm.eps));
  }
}

template <class T, bool kRelu, bool kResidual>
void scale_rows(const T *__restrict x, const T *__restrict residual, i64 rows, i64 C,
                const T *__restrict scale, const T *__restrict shift, T *__restrict y) {
  for (i64 s = 0; s < rows; ++s, x += C, y += C) {
#pragma omp simd
    for (i64 c = 0; c < C; ++c) {
      T z = x[c] * scale[c] + shift[c];
      if (kRelu) z = z < T(0) ? T(0) : z;  // a NaN stays one
      if (kResidual) z += residual[c];
      y[c] = z;
    }
    if (kResidual) residual += C;
  }
}

template <class T>
void scale_chunks(const T *x, const T *residual, bool relu, Chunks chunks, const Scales<T> &by,
                  T *y) {
  const i64 W = by.scale.size();
  prefer_huge_pages(y, chunks.total * W);
  auto rows = residual ? scale_rows<T, false, true>
              : relu   ? scale_rows<T, true, false>
                       : scale_rows<T, false, false>;
#pragma omp parallel for schedule(static) if (chunks.total * W > kParallel)
  for (i64 i = 0; i < chunks.count(); ++i) {
    const i64 at = i * chunks.rows * W;
    rows(x + at, residual ? residual + at : nullptr, chunks.size(i), W, by.scale.data(),
         by.shift.data(), y + at);
  }
}

// x, residual, y [n, C]; writes y, and mean and invstd [C] for the backward pass.
template <class T>
void norm_forward(const T *x, i64 n, i64 C, const BatchNorm<T> &norm, bool relu, const T *residual,
                  T *y, T *mean, T *invstd) {
  const i64 G = joined_rows(n, C);
  const Chunks chunks = joined_chunks(n, C, G);
  std::vector<T> mu(chunks.count() * C * G), m2(mu.size());
  moments(x, chunks, C * G, mu.data(), m2.data());
  combine(mu.data(), m2.data(), chunks, C, G, norm, mean, invstd);
  scale_chunks(x, residual, relu, chunks, {mean, invstd, norm.weight, norm.bias, C, G}, y);
}

// Adds up dz and dz * (x - mean) over rows, dz the gradient before the ReLU.
template <class T, bool kRelu>
void gradient_sums(const T *__restrict dy, const T *__restrict x, i64 rows, i64 C,
                   const T *__restrict mean, const T *__restrict scale, const T *__restrict shift,
                   T *__restrict sum, T *__restrict product) {
  for (i64 s = 0; s < rows; ++s, x += C, dy += C)
#pragma omp simd
    for (i64 c = 0; c < C; ++c) {
      T dz = dy[c];
      if (kRelu) dz = x[c] * scale[c] + shift[c] <= T(0) ? T(0) : dz;
      sum[c] += dz;
      product[c] += dz * (x[c] - mean[c]);
    }
}

// dx = dz * scale + constant - x * slope.
template <class T, bool kRelu>
void gradient_rows(const T *__restrict dy, const T *__restrict x, i64 rows, i64 C,
                   const T *__restrict scale, const T *__restrict shift,
                   const T *__restrict constant, const T *__restrict slope, T *__restrict dx) {
  for (i64 s = 0; s < rows; ++s, x += C, dy += C, dx += C)
#pragma omp simd
    for (i64 c = 0; c < C; ++c) {
      T dz = dy[c];
      if (kRelu) dz = x[c] * scale[c] + shift[c] <= T(0) ? T(0) : dz;
      dx[c] = dz * scale[c] + (constant[c] - x[c] * slope[c]);
    }
}

// The gradient of batch norm up to its last pass: of weight and bias, and for `gradient_rows`.
template <class T>
struct NormGradient {
  std::vector<T> constant, slope;  // [G * C]

  NormGradient(const T *dy, const T *x, bool relu, Chunks chunks, i64 C, i64 G,
               const Scales<T> &by, const T *invstd, T *dweight, T *dbias)
      : constant(G * C), slope(G * C) {
    const i64 W = C * G;
    std::vector<T> sum(chunks.count() * W, T(0)), product(sum.size(), T(0));
    auto sums = relu ? gradient_sums<T, true> : gradient_sums<T, false>;
#pragma omp parallel for schedule(static) if (chunks.total * W > kParallel)
    for (i64 i = 0; i < chunks.count(); ++i) {
      const i64 at = i * chunks.rows * W;
      sums(dy + at, x + at, chunks.size(i), W, by.mean.data(), by.scale.data(), by.shift.data(),
           &sum[i * W], &product[i * W]);
    }
    const double n = double(chunks.total) * G;
    for (i64 c = 0; c < C; ++c) {
      double a = 0, d = 0;
      for (i64 i = 0; i < chunks.count(); ++i)
        for (i64 j = c; j < W; j += C) a += sum[i * W + j], d += product[i * W + j];
      dbias[c] = T(a);
      dweight[c] = T(d * invstd[c]);
      for (i64 j = c; j < W; j += C) {
        slope[j] = T(by.scale[c] * double(invstd[c]) * dweight[c] / n);
        constant[j] = T(by.mean[c] * double(slope[j]) - by.scale[c] * a / n);
      }
    }
  }
};

template <class T>
void norm_backward(const T *dy, const T *x, i64 n, i64 C, const T *weight, const T *bias, bool relu,
                   const T *mean, const T *invstd, T *dx, T *dweight, T *dbias) {
  prefer_huge_pages(dx, n * C);
  const i64 G = joined_rows(n, C), W = C * G;
  const Chunks chunks = joined_chunks(n, C, G);
  const Scales<T> by(mean, invstd, weight, bias, C, G);
  const NormGradient<T> of(dy, x, relu, chunks, C, G, by, invstd, dweight, dbias);
  auto rows = relu ? gradient_rows<T, true> : gradient_rows<T, false>;
#pragma omp parallel for schedule(static) if (n * C > kParallel)
  for (i64 i = 0; i < chunks.count(); ++i) {
    const i64 at = i * chunks.rows * W;
    rows(dy + at, x + at, chunks.size(i), W, by.scale.data(), by.shift.data(), of.constant.data(),
         of.slope.data(), dx + at);
  }
}
