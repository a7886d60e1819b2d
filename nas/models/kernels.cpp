// Batch norm, alone and after the dynamic clone transformer, in channels-last memory.
//
// A tensor [B, C, H, W] in channels-last memory is B * S rows of C channels, S = H * W.
// Norm: one clone, rows of all images alike. Clone norm: y[b,s,k,c] = x[b,s,c] + g[b,k,c]
// normalised over b and s, p clones k, N = p * C output channels k * C + c.
//
// The wide tensor y is never built before it is normalised. By the law of total variance
//     mean_kc = mean_b(e_bkc),  var_kc = mean_b(within_bc) + var_b(e_bkc),
//     e_bkc = mean_s(x_bsc) + g_bkc,  within_bc = var_s(x_bsc),
// so normalising is one multiply-add, y = x * scale_kc + shift_bkc, and its backward pass
// reads the wide gradient once. Nothing is subtracted that nearly cancels.
//
// Rows are cut into chunks whose sums are added in order, so results do not depend on the
// number of threads. `restrict` and fixed block widths let the compiler use vectors.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace {

using i64 = std::int64_t;
constexpr i64 kChunk = 16384;        // elements of a chunk of rows: stays in the L2 cache
constexpr i64 kParallel = 1 << 16;   // elements below which threads cost more than they give

template <class T>
struct BatchNorm {  // what torch.nn.BatchNorm2d holds; running is null where it is not updated
  const T *weight, *bias;
  T *running_mean, *running_var;
  double momentum, eps;
};

// Sums of d = x - x[first row] and of d * d over some rows: one pass, safe for a large mean.
template <class T>
void shifted_sums(const T *__restrict x, i64 rows, i64 C, T *__restrict sum, T *__restrict square) {
  const T *__restrict first = x;
  std::fill(sum, sum + C, T(0));
  std::fill(square, square + C, T(0));
  for (i64 s = 0; s < rows; ++s, x += C)
#pragma omp simd
    for (i64 c = 0; c < C; ++c) {
      const T d = x[c] - first[c];
      sum[c] += d;
      square[c] += d * d;
    }
}

// Mean of each chunk and channel, and the sum of squares about it.
template <class T>
void moments(const T *x, i64 total, i64 rows, i64 C, T *mean, T *m2) {
  const i64 chunks = (total + rows - 1) / rows;
#pragma omp parallel for schedule(static) if (total * C > kParallel)
  for (i64 i = 0; i < chunks; ++i) {
    const T *chunk = x + i * rows * C;
    const i64 n = std::min(rows, total - i * rows);
    T *mu = mean + i * C, *sq = m2 + i * C;
    shifted_sums(chunk, n, C, mu, sq);
    for (i64 c = 0; c < C; ++c) {
      sq[c] = std::max(T(0), sq[c] - mu[c] * mu[c] / T(n));
      mu[c] = chunk[c] + mu[c] / T(n);
    }
  }
}

// Running statistics as torch.nn.BatchNorm2d keeps them: the unbiased variance of n values.
template <class T>
void update_running(const BatchNorm<T> &norm, i64 at, double mean, double var, i64 n) {
  if (!norm.running_mean) return;
  const double m = norm.momentum;
  norm.running_mean[at] = T((1 - m) * norm.running_mean[at] + m * mean);
  norm.running_var[at] = T((1 - m) * norm.running_var[at] + m * var * n / (n - 1));
}

// Narrow rows are joined, G rows of C channels to one of G * C, so that vectors are full.
i64 joined_rows(i64 n, i64 C) {
  i64 G = 1;
  while (C * G < 32 && n % (2 * G) == 0) G *= 2;
  return G;
}

template <class T>
std::vector<T> tile(const std::vector<T> &values, i64 G) {
  std::vector<T> tiled;
  tiled.reserve(values.size() * G);
  for (i64 i = 0; i < G; ++i) tiled.insert(tiled.end(), values.begin(), values.end());
  return tiled;
}

// y = relu?(x * scale + shift) + residual?, row by row.
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
void norm_forward(const T *x, i64 n, i64 C, const BatchNorm<T> &norm, bool relu, const T *residual,
                  T *y, T *mean, T *invstd) {
  const i64 G = joined_rows(n, C), W = C * G, total = n / G;
  const i64 rows = std::max<i64>(1, kChunk / W), chunks = (total + rows - 1) / rows;
  std::vector<T> mu(chunks * W), m2(chunks * W), scale(C), shift(C);
  moments(x, total, rows, W, mu.data(), m2.data());
  for (i64 c = 0; c < C; ++c) {
    double sum = 0, within = 0, between = 0;
    for (i64 i = 0; i < chunks; ++i)
      for (i64 j = c; j < W; j += C)
        sum += double(mu[i * W + j]) * std::min(rows, total - i * rows);
    const double m = sum / n;
    for (i64 i = 0; i < chunks; ++i)
      for (i64 j = c; j < W; j += C) {
        const double d = mu[i * W + j] - m;
        within += m2[i * W + j];
        between += d * d * std::min(rows, total - i * rows);
      }
    const double var = (within + between) / n;
    update_running(norm, c, m, var, n);
    mean[c] = T(m);
    invstd[c] = T(1 / std::sqrt(var + norm.eps));
    scale[c] = norm.weight[c] * invstd[c];
    shift[c] = norm.bias[c] - mean[c] * scale[c];
  }
  scale = tile(scale, G), shift = tile(shift, G);
#pragma omp parallel for schedule(static) if (n * C > kParallel)
  for (i64 i = 0; i < chunks; ++i) {
    const i64 at = i * rows * W, r = std::min(rows, total - i * rows);
    if (residual)
      scale_rows<T, false, true>(x + at, residual + at, r, W, scale.data(), shift.data(), y + at);
    else if (relu)
      scale_rows<T, true, false>(x + at, nullptr, r, W, scale.data(), shift.data(), y + at);
    else
      scale_rows<T, false, false>(x + at, nullptr, r, W, scale.data(), shift.data(), y + at);
  }
}

// Sums over rows of dz and dz * (x - mean), dz the gradient before the ReLU.
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

template <class T>
void norm_backward(const T *dy, const T *x, i64 n, i64 C, const T *weight, const T *bias, bool relu,
                   const T *mean, const T *invstd, T *dx, T *dweight, T *dbias) {
  const i64 G = joined_rows(n, C), W = C * G, total = n / G;
  const i64 rows = std::max<i64>(1, kChunk / W), chunks = (total + rows - 1) / rows;
  std::vector<T> centre(mean, mean + C), scale(C), shift(C), constant(C), slope(C);
  for (i64 c = 0; c < C; ++c) {
    scale[c] = weight[c] * invstd[c];
    shift[c] = bias[c] - mean[c] * scale[c];
  }
  centre = tile(centre, G), scale = tile(scale, G), shift = tile(shift, G);
  std::vector<T> sum(chunks * W, T(0)), product(chunks * W, T(0));
#pragma omp parallel for schedule(static) if (n * C > kParallel)
  for (i64 i = 0; i < chunks; ++i) {
    const i64 at = i * rows * W, r = std::min(rows, total - i * rows);
    auto sums = relu ? gradient_sums<T, true> : gradient_sums<T, false>;
    sums(dy + at, x + at, r, W, centre.data(), scale.data(), shift.data(), &sum[i * W],
         &product[i * W]);
  }
  for (i64 c = 0; c < C; ++c) {
    double a = 0, d = 0;
    for (i64 i = 0; i < chunks; ++i)
      for (i64 j = c; j < W; j += C) a += sum[i * W + j], d += product[i * W + j];
    dbias[c] = T(a);
    dweight[c] = T(d * invstd[c]);
    slope[c] = T(scale[c] * double(invstd[c]) * dweight[c] / n);
    constant[c] = T(mean[c] * double(slope[c]) - scale[c] * a / n);
  }
  constant = tile(constant, G), slope = tile(slope, G);
#pragma omp parallel for schedule(static) if (n * C > kParallel)
  for (i64 i = 0; i < chunks; ++i) {
    const i64 at = i * rows * W, r = std::min(rows, total - i * rows);
    auto gradient = relu ? gradient_rows<T, true> : gradient_rows<T, false>;
    gradient(dy + at, x + at, r, W, scale.data(), shift.data(), constant.data(), slope.data(),
             dx + at);
  }
}

// V channels at a time where C is a multiple of V: x is read once for all its clones.
template <class T, int V, bool kResidual>
void clone_rows(const T *__restrict x, const T *__restrict residual, i64 S, i64 C, i64 p,
                const T *__restrict scale, const T *__restrict shift, T *__restrict y) {
  for (i64 s = 0; s < S; ++s, x += C, y += p * C) {
    for (i64 c = 0; c < C; c += V)
      for (i64 k = 0; k < p; ++k) {
        const i64 at = k * C + c;
        for (int v = 0; v < V; ++v) {
          T z = x[c + v] * scale[at + v] + shift[at + v];
          if (kResidual) z += residual[at + v];
          y[at + v] = z;
        }
      }
    if (kResidual) residual += p * C;
  }
}

template <class T>
void clone_scale(const T *x, const T *residual, i64 B, i64 S, i64 C, i64 p, const T *scale,
                 const T *shift, T *y) {
  const i64 N = p * C;
  auto rows = residual ? (C % 16 == 0  ? clone_rows<T, 16, true>
                          : C % 8 == 0 ? clone_rows<T, 8, true>
                          : C % 4 == 0 ? clone_rows<T, 4, true>
                                       : clone_rows<T, 1, true>)
                       : (C % 16 == 0  ? clone_rows<T, 16, false>
                          : C % 8 == 0 ? clone_rows<T, 8, false>
                          : C % 4 == 0 ? clone_rows<T, 4, false>
                                       : clone_rows<T, 1, false>);
#pragma omp parallel for schedule(static) if (B * S * N > kParallel)
  for (i64 b = 0; b < B; ++b)
    rows(x + b * S * C, residual ? residual + b * S * N : nullptr, S, C, p, scale, shift + b * N,
         y + b * S * N);
}

// x_mean [B, C] and x_m2 [B, C] are the moments of each image; g, shift [B, N]; rest [N].
template <class T>
void clone_forward(const T *x, i64 B, i64 S, i64 C, i64 p, const T *x_mean, const T *x_m2,
                   const T *g, const BatchNorm<T> &norm, const T *residual, T *y, T *mean,
                   T *invstd) {
  const i64 N = p * C;
  std::vector<T> scale(N), shift(B * N);
  std::vector<double> within(C, 0), sum(N, 0), between(N, 0);
  for (i64 b = 0; b < B; ++b) {
    for (i64 c = 0; c < C; ++c) within[c] += x_m2[b * C + c];
    for (i64 k = 0; k < p; ++k)
      for (i64 c = 0; c < C; ++c) sum[k * C + c] += x_mean[b * C + c] + g[b * N + k * C + c];
  }
  for (i64 b = 0; b < B; ++b)
    for (i64 k = 0; k < p; ++k)
      for (i64 c = 0; c < C; ++c) {
        const double e = x_mean[b * C + c] + g[b * N + k * C + c] - sum[k * C + c] / B;
        between[k * C + c] += e * e;
      }
  for (i64 at = 0; at < N; ++at) {
    const double m = sum[at] / B, var = (within[at % C] / S + between[at]) / B;
    update_running(norm, at, m, var, B * S);
    mean[at] = T(m);
    invstd[at] = T(1 / std::sqrt(var + norm.eps));
    scale[at] = norm.weight[at] * invstd[at];
  }
  for (i64 b = 0; b < B; ++b)
    for (i64 at = 0; at < N; ++at)
      shift[b * N + at] = (g[b * N + at] - mean[at]) * scale[at] + norm.bias[at];
  clone_scale(x, residual, B, S, C, p, scale.data(), shift.data(), y);
}

// For one image: sums over rows of dy and dy * (x - x_mean), and dx = sum_k dy * scale.
template <class T, int V>
void clone_gradient_rows(const T *__restrict dy, const T *__restrict x, i64 S, i64 C, i64 p,
                         const T *__restrict x_mean, const T *__restrict scale, T *__restrict dx,
                         T *__restrict sum, T *__restrict product) {
  for (i64 s = 0; s < S; ++s, dy += p * C, x += C, dx += C)
    for (i64 c = 0; c < C; c += V) {
      T centred[V], total[V] = {};
      for (int v = 0; v < V; ++v) centred[v] = x[c + v] - x_mean[c + v];
      for (i64 k = 0; k < p; ++k) {
        const i64 at = k * C + c;
        for (int v = 0; v < V; ++v) {
          sum[at + v] += dy[at + v];
          product[at + v] += dy[at + v] * centred[v];
          total[v] += dy[at + v] * scale[at + v];
        }
      }
      for (int v = 0; v < V; ++v) dx[c + v] = total[v];
    }
}

// Writes dg [B, N], dweight and dbias [N], and of dx all but what depends on dg; for that,
// and to be subtracted in clone_finish: constant [B, C] and slope [C].
template <class T>
void clone_backward(const T *dy, const T *x, i64 B, i64 S, i64 C, i64 p, const T *x_mean,
                    const T *g, const T *weight, const T *mean, const T *invstd, T *dx, T *dg,
                    T *dweight, T *dbias, T *constant, T *slope) {
  const i64 N = p * C, n = B * S;
  std::vector<T> scale(N), sum(B * N, T(0)), product(B * N, T(0)), q(N), level(N);
  for (i64 at = 0; at < N; ++at) scale[at] = weight[at] * invstd[at];
  auto rows = C % 16 == 0  ? clone_gradient_rows<T, 16>
              : C % 8 == 0 ? clone_gradient_rows<T, 8>
              : C % 4 == 0 ? clone_gradient_rows<T, 4>
                           : clone_gradient_rows<T, 1>;
#pragma omp parallel for schedule(static) if (n * N > kParallel)
  for (i64 b = 0; b < B; ++b)
    rows(dy + b * S * N, x + b * S * C, S, C, p, x_mean + b * C, scale.data(), dx + b * S * C,
         &sum[b * N], &product[b * N]);
  std::vector<double> a(N, 0), d(N, 0);
  for (i64 b = 0; b < B; ++b)
    for (i64 k = 0; k < p; ++k)
      for (i64 c = 0; c < C; ++c) {
        const i64 at = k * C + c, i = b * N + at;
        a[at] += sum[i];
        d[at] += product[i] + (x_mean[b * C + c] + g[i] - mean[at]) * sum[i];
      }
  for (i64 at = 0; at < N; ++at) {
    dbias[at] = T(a[at]);
    dweight[at] = T(d[at] * invstd[at]);
    level[at] = T(scale[at] * a[at] / n);
    q[at] = T(scale[at] * double(invstd[at]) * dweight[at] / n);
  }
  std::fill(slope, slope + C, T(0));
  for (i64 at = 0; at < N; ++at) slope[at % C] += q[at];
  std::fill(constant, constant + B * C, T(0));
  for (i64 b = 0; b < B; ++b)
    for (i64 k = 0; k < p; ++k)
      for (i64 c = 0; c < C; ++c) {
        const i64 at = k * C + c, i = b * N + at;
        const T level_here = level[at] + q[at] * (x_mean[b * C + c] + g[i] - mean[at]);
        constant[b * C + c] += level_here;
        dg[i] = scale[at] * sum[i] - S * level_here;
      }
}

// dx -= constant + (x - x_mean) * slope.
template <class T>
void clone_finish(const T *x, i64 B, i64 S, i64 C, const T *x_mean, const T *constant,
                  const T *slope, T *dx) {
#pragma omp parallel for schedule(static) if (B * S * C > kParallel)
  for (i64 b = 0; b < B; ++b) {
    std::vector<T> level(C);
    for (i64 c = 0; c < C; ++c) level[c] = constant[b * C + c] - x_mean[b * C + c] * slope[c];
    for (i64 s = 0; s < S; ++s) {
      const T *__restrict from = x + (b * S + s) * C;
      T *__restrict to = dx + (b * S + s) * C;
#pragma omp simd
      for (i64 c = 0; c < C; ++c) to[c] -= level[c] + from[c] * slope[c];
    }
  }
}

}  // namespace

#define EXPORT(T, NAME)                                                                          \
  extern "C" void moments_##NAME(const T *x, i64 total, i64 rows, i64 C, T *mean, T *m2) {       \
    moments(x, total, rows, C, mean, m2);                                                        \
  }                                                                                              \
  extern "C" void norm_forward_##NAME(const T *x, i64 n, i64 C, const T *weight, const T *bias,  \
                                      T *running_mean, T *running_var, double momentum,          \
                                      double eps, i64 relu, const T *residual, T *y, T *mean,    \
                                      T *invstd) {                                               \
    norm_forward<T>(x, n, C, {weight, bias, running_mean, running_var, momentum, eps}, relu,     \
                    residual, y, mean, invstd);                                                  \
  }                                                                                              \
  extern "C" void norm_backward_##NAME(const T *dy, const T *x, i64 n, i64 C, const T *weight,   \
                                       const T *bias, i64 relu, const T *mean, const T *invstd,  \
                                       T *dx, T *dweight, T *dbias) {                            \
    norm_backward(dy, x, n, C, weight, bias, relu, mean, invstd, dx, dweight, dbias);            \
  }                                                                                              \
  extern "C" void clone_forward_##NAME(                                                          \
      const T *x, i64 B, i64 S, i64 C, i64 p, const T *x_mean, const T *x_m2, const T *g,        \
      const T *weight, const T *bias, T *running_mean, T *running_var, double momentum,          \
      double eps, const T *residual, T *y, T *mean, T *invstd) {                                 \
    clone_forward<T>(x, B, S, C, p, x_mean, x_m2, g,                                             \
                     {weight, bias, running_mean, running_var, momentum, eps}, residual, y,      \
                     mean, invstd);                                                              \
  }                                                                                              \
  extern "C" void clone_backward_##NAME(                                                         \
      const T *dy, const T *x, i64 B, i64 S, i64 C, i64 p, const T *x_mean, const T *g,          \
      const T *weight, const T *mean, const T *invstd, T *dx, T *dg, T *dweight, T *dbias,       \
      T *constant, T *slope) {                                                                   \
    clone_backward(dy, x, B, S, C, p, x_mean, g, weight, mean, invstd, dx, dg, dweight, dbias,   \
                   constant, slope);                                                             \
  }                                                                                              \
  extern "C" void clone_finish_##NAME(const T *x, i64 B, i64 S, i64 C, const T *x_mean,          \
                                      const T *constant, const T *slope, T *dx) {                \
    clone_finish(x, B, S, C, x_mean, constant, slope, dx);                                       \
  }                                                                                              \
  extern "C" void clone_scale_##NAME(const T *x, const T *residual, i64 B, i64 S, i64 C, i64 p,  \
                                     const T *scale, const T *shift, T *y) {                     \
    clone_scale(x, residual, B, S, C, p, scale, shift, y);                                       \
  }

EXPORT(float, float)
EXPORT(double, double)
