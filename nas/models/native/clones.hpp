// Batch norm after the dynamic clone transformer: y[b,s,k,c] = x[b,s,c] + g[b,k,c] normalised
// over b and s, for p clones k; N = p * C output channels k * C + c.
//
// The wide tensor y is never built before it is normalised. By the law of total variance
//     mean_kc = mean_b(e_bkc),  var_kc = mean_b(within_bc) + var_b(e_bkc),
//     e_bkc = mean_s(x_bsc) + g_bkc,  within_bc = var_s(x_bsc),
// so normalising is one multiply-add, y = x * scale_kc + shift_bkc, and its backward pass
// reads the wide gradient once. No step subtracts values that nearly cancel.

#pragma once

#include "rows.hpp"

constexpr i64 kRows = 32;  // rows whose gradients are summed in single precision

// V channels at a time; C is a multiple of V. x is read once for all its clones.
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

// The same with streaming stores; C fills whole cache lines.
template <class T, bool kResidual>
void clone_rows_streaming(const T *x, const T *residual, i64 S, i64 C, i64 p, const T *scale,
                          const T *shift, T *y) {
  using P = typename Pack<T, kLine>::type;
  for (i64 s = 0; s < S; ++s, x += C, y += p * C) {
    for (i64 c = 0; c < C; c += kLine / sizeof(T)) {
      const P pixel = load<P>(x + c);
      for (i64 at = c; at < p * C; at += C) {
        P z = pixel * load<P>(scale + at) + load<P>(shift + at);
        if (kResidual) z += load<P>(residual + at);
        stream_store(y + at, z);
      }
    }
    if (kResidual) residual += p * C;
  }
  stream_fence();
}

template <class T>
void clone_scale(const T *x, const T *residual, i64 B, i64 S, i64 C, i64 p, const T *scale,
                 const T *shift, T *y) {
  const i64 N = p * C;
  prefer_huge_pages(y, B * S * N);
  const bool lines = C * sizeof(T) % kLine == 0 && std::uintptr_t(y) % kLine == 0;
  auto rows = residual ? (C % 16 == 0  ? clone_rows<T, 16, true>
                          : C % 8 == 0 ? clone_rows<T, 8, true>
                          : C % 4 == 0 ? clone_rows<T, 4, true>
                                       : clone_rows<T, 1, true>)
                       : (C % 16 == 0  ? clone_rows<T, 16, false>
                          : C % 8 == 0 ? clone_rows<T, 8, false>
                          : C % 4 == 0 ? clone_rows<T, 4, false>
                                       : clone_rows<T, 1, false>);
  if (lines && B * S * N * i64(sizeof(T)) >= kStreaming)
    rows = residual ? clone_rows_streaming<T, true> : clone_rows_streaming<T, false>;
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
    norm.update_running(at, m, var, B * S);
    mean[at] = T(m);
    invstd[at] = T(1 / std::sqrt(var + norm.eps));
    scale[at] = norm.weight[at] * invstd[at];
  }
  for (i64 b = 0; b < B; ++b)
    for (i64 at = 0; at < N; ++at)
      shift[b * N + at] = (g[b * N + at] - mean[at]) * scale[at] + norm.bias[at];
  clone_scale(x, residual, B, S, C, p, scale.data(), shift.data(), y);
}

// For some rows of an image: adds up dy and dy * (x - x_mean); dx = sum_k dy * scale.
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

// Writes dz [B, N], the gradient with respect to z where g = sigmoid(z); dweight and dbias [N];
// the part of dx that does not depend on dz; and constant [B, C] and slope [C], which
// clone_finish subtracts from dx.
template <class T>
void clone_backward(const T *dy, const T *x, i64 B, i64 S, i64 C, i64 p, const T *x_mean,
                    const T *g, const T *weight, const T *mean, const T *invstd, T *dx, T *dz,
                    T *dweight, T *dbias, T *constant, T *slope) {
  const i64 N = p * C, n = B * S;
  prefer_huge_pages(dx, n * C);
  std::vector<T> scale(N);
  std::vector<double> sum(B * N, 0), product(B * N, 0), q(N), level(N), a(N, 0), d(N, 0);
  for (i64 at = 0; at < N; ++at) scale[at] = weight[at] * invstd[at];
  auto rows = C % 16 == 0  ? clone_gradient_rows<T, 16>
              : C % 8 == 0 ? clone_gradient_rows<T, 8>
              : C % 4 == 0 ? clone_gradient_rows<T, 4>
                           : clone_gradient_rows<T, 1>;
#pragma omp parallel for schedule(static) if (n * N > kParallel)
  for (i64 b = 0; b < B; ++b) {
    std::vector<T> part(2 * N);
    for (i64 s = 0; s < S; s += kRows) {  // short sums: dz is a difference of large ones
      std::fill(part.begin(), part.end(), T(0));
      const i64 row = b * S + s;
      rows(dy + row * N, x + row * C, std::min(kRows, S - s), C, p, x_mean + b * C, scale.data(),
           dx + row * C, &part[0], &part[N]);
      for (i64 at = 0; at < N; ++at) {
        sum[b * N + at] += part[at];
        product[b * N + at] += part[N + at];
      }
    }
  }
  for (i64 b = 0; b < B; ++b)
    for (i64 k = 0; k < p; ++k)
      for (i64 c = 0; c < C; ++c) {
        const i64 at = k * C + c, i = b * N + at;
        a[at] += sum[i];
        d[at] += product[i] + (double(x_mean[b * C + c]) + g[i] - mean[at]) * sum[i];
      }
  for (i64 at = 0; at < N; ++at) {
    dbias[at] = T(a[at]);
    dweight[at] = T(d[at] * invstd[at]);
    level[at] = scale[at] * a[at] / n;
    q[at] = scale[at] * d[at] * invstd[at] * invstd[at] / n;
  }
  std::fill(slope, slope + C, T(0));
  for (i64 at = 0; at < N; ++at) slope[at % C] += T(q[at]);
  std::fill(constant, constant + B * C, T(0));
  for (i64 b = 0; b < B; ++b)
    for (i64 k = 0; k < p; ++k)
      for (i64 c = 0; c < C; ++c) {
        const i64 at = k * C + c, i = b * N + at;
        const double e = double(x_mean[b * C + c]) + g[i] - mean[at];
        const double pulled = level[at] + q[at] * e;  // gradient of a row through the statistics
        constant[b * C + c] += T(pulled);
        dz[i] = T((scale[at] * sum[i] - S * pulled) * g[i] * (1 - double(g[i])));
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
