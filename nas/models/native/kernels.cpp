// The functions that `nas/models/native/build.py` calls, for both precisions.

#include "clones.hpp"
#include "depthwise.hpp"
#include "norm.hpp"

#define EXPORT(T, NAME)                                                                          \
  extern "C" void moments_##NAME(const T *x, i64 total, i64 rows, i64 C, T *mean, T *m2) {       \
    moments(x, {total, rows}, C, mean, m2);                                                      \
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
  extern "C" void depthwise_forward_##NAME(                                                      \
      const T *x, i64 B, i64 H, i64 W, i64 C, const T *conv, const T *weight, const T *bias,     \
      T *running_mean, T *running_var, double momentum, double eps, T *convolved, T *y, T *mean, \
      T *invstd) {                                                                               \
    depthwise_forward<T>(x, B, H, W, C, conv,                                                    \
                         {weight, bias, running_mean, running_var, momentum, eps}, convolved, y, \
                         mean, invstd);                                                          \
  }                                                                                              \
  extern "C" void depthwise_backward_##NAME(                                                     \
      const T *dy, const T *x, const T *convolved, i64 B, i64 H, i64 W, i64 C, const T *conv,    \
      const T *weight, const T *bias, const T *mean, const T *invstd, T *dx, T *dconv,           \
      T *dweight, T *dbias) {                                                                    \
    depthwise_backward(dy, x, convolved, B, H, W, C, conv, weight, bias, mean, invstd, dx, dconv,\
                       dweight, dbias);                                                          \
  }                                                                                              \
  extern "C" void depthwise_relu_##NAME(const T *x, i64 B, i64 H, i64 W, i64 C, const T *weight,  \
                                        const T *bias, T *y) {                                   \
    depthwise_relu(x, B, H, W, C, weight, bias, y);                                              \
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
      const T *weight, const T *mean, const T *invstd, T *dx, T *dz, T *dweight, T *dbias,       \
      T *constant, T *slope) {                                                                   \
    clone_backward(dy, x, B, S, C, p, x_mean, g, weight, mean, invstd, dx, dz, dweight, dbias,   \
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
