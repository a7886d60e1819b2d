// What all kernels share: rows of channels, their moments, and batch norm's parameters.
//
// A tensor [B, C, H, W] in channels-last memory is B * S rows of C channels, S = H * W.
// Rows are cut into chunks whose sums are added in order, so results do not depend on the
// number of threads. `restrict`, `omp simd` and packs let the compiler use vectors.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __AVX__
#include <immintrin.h>
#endif
#ifdef __linux__
#include <sys/mman.h>
#endif

using i64 = std::int64_t;

constexpr i64 kParallel = 1 << 16;  // elements below which threads cost more than they give

// The first write to memory allocates pages of 4 KiB, which takes longer than the computation
// here; large blocks may have pages of 2 MiB.
template <class T>
void prefer_huge_pages(T *y, i64 n) {
#ifdef MADV_HUGEPAGE
  constexpr std::uintptr_t page = 1 << 21;
  const std::uintptr_t begin = (std::uintptr_t(y) + page - 1) / page * page;
  const std::uintptr_t end = std::uintptr_t(y + n) / page * page;
  if (begin < end) madvise(reinterpret_cast<void *>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

template <class T>
struct BatchNorm {  // what torch.nn.BatchNorm2d holds
  const T *weight, *bias;
  T *running_mean, *running_var;
  double momentum, eps;

  // As torch.nn.BatchNorm2d keeps them: the unbiased variance of n values.
  void update_running(i64 channel, double mean, double var, i64 n) const {
    T &m = running_mean[channel], &v = running_var[channel];
    m = T((1 - momentum) * m + momentum * mean);
    v = T((1 - momentum) * v + momentum * var * n / (n - 1));
  }
};

// Mean of some rows and the sum of squares about it. One pass: sums of d = x - first row and
// of d * d, which a large mean does not harm.
template <class T>
void row_moments(const T *__restrict x, i64 rows, i64 C, T *__restrict mean, T *__restrict m2) {
  const T *__restrict first = x;
  std::fill(mean, mean + C, T(0));
  std::fill(m2, m2 + C, T(0));
  for (i64 s = 0; s < rows; ++s, x += C)
#pragma omp simd
    for (i64 c = 0; c < C; ++c) {
      const T d = x[c] - first[c];
      mean[c] += d;
      m2[c] += d * d;
    }
  for (i64 c = 0; c < C; ++c) {
    m2[c] = std::max(T(0), m2[c] - mean[c] * mean[c] / T(rows));
    mean[c] = first[c] + mean[c] / T(rows);
  }
}

// Cuts `total` rows into chunks of `rows`, the last one shorter.
struct Chunks {
  i64 total, rows;
  i64 count() const { return (total + rows - 1) / rows; }
  i64 size(i64 i) const { return std::min(rows, total - i * rows); }
};

// Moments of each chunk: mean and m2 are [chunks, C].
template <class T>
void moments(const T *x, Chunks chunks, i64 C, T *mean, T *m2) {
#pragma omp parallel for schedule(static) if (chunks.total * C > kParallel)
  for (i64 i = 0; i < chunks.count(); ++i)
    row_moments(x + i * chunks.rows * C, chunks.size(i), C, mean + i * C, m2 + i * C);
}

// A vector of channels. Memory need not be aligned to it, hence the copies.
template <class T, int kBytes>
struct Pack {
  typedef T type __attribute__((vector_size(kBytes)));
};
template <class T>
struct Pack<T, 0> {
  using type = T;
};

template <class P, class T>
P load(const T *from) {
  P value;
  std::memcpy(&value, from, sizeof(P));
  return value;
}

template <class P, class T>
void store(T *to, P value) {
  std::memcpy(to, &value, sizeof(P));
}

// A streaming (non-temporal) store does not read the memory that it writes. It pays for blocks
// that would not stay in the cache until they are read.
constexpr i64 kStreaming = 8 << 20;  // bytes
constexpr i64 kLine = 64;            // bytes of a cache line, and of a streaming store

// `to` is aligned to a line.
template <class T>
void stream_store(T *to, typename Pack<T, kLine>::type value) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i *>(to), reinterpret_cast<__m512i>(value));
#elif defined(__AVX__)
  __m256i halves[2];
  std::memcpy(halves, &value, kLine);
  _mm256_stream_si256(reinterpret_cast<__m256i *>(to), halves[0]);
  _mm256_stream_si256(reinterpret_cast<__m256i *>(to) + 1, halves[1]);
#else
  store(to, value);
#endif
}

// Makes streaming stores visible to other threads.
inline void stream_fence() {
#ifdef __AVX__
  _mm_sfence();
#endif
}

// f(Pack, first channel) for packs that cover C channels, the widest first.
template <class T, class F>
void for_packs(i64 C, F f) {
  i64 c = 0;
#ifdef __AVX512F__
  for (i64 v = 64 / sizeof(T); c + v <= C; c += v) f(Pack<T, 64>(), c);
#endif
  for (i64 v = 32 / sizeof(T); c + v <= C; c += v) f(Pack<T, 32>(), c);
  for (i64 v = 16 / sizeof(T); c + v <= C; c += v) f(Pack<T, 16>(), c);
  for (; c < C; ++c) f(Pack<T, 0>(), c);
}
