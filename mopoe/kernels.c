// Convolutions of few channels on a CPU, with the samples innermost: images are [group][channel][y][x][sample];
// and the error of a Laplace likelihood.
//
// A convolution with a stride maps a large image to a small one, a transposed convolution maps back, and each is
// the other's gradient. Both have the weight [group][small channel][large channel][kernel][kernel]. All samples of
// a pixel lie next to each other, so that the vector units are full however few the channels are.
//
// The number of samples is a multiple of `sample_multiple()`; the caller pads.

#include <stdlib.h>

#ifndef REAL
#define REAL float
#define INTEGER int
#endif
#ifdef __AVX512F__
#define BYTES 64
#define BLOCK 8 // output channels at a time: as many sums as the registers hold
#else
#define BYTES 32
#define BLOCK 4
#endif
#define LANES ((int)(BYTES / sizeof(REAL)))
#define VECTORS 2 // vectors of samples at a time
#define STEP (LANES * VECTORS)
#define TILE (2 * STEP) // samples that go through all layers together
#define MOST_TAPS 64
#define INLINE static inline __attribute__((always_inline))

typedef REAL Vector __attribute__((vector_size(BYTES), aligned(sizeof(REAL))));
typedef INTEGER Mask __attribute__((vector_size(BYTES), aligned(sizeof(REAL))));

typedef struct {
  int groups, small_channels, large_channels, kernel, stride, padding;
  int small_height, small_width, large_height, large_width, samples;
} Shape;

// small = relu(convolution of large + bias), or large = relu(transposed convolution of small + bias); 0 where the
// mask, shaped like the output, is not positive. Bias and mask may be null.
typedef struct {
  Shape shape;
  int to_small, relu;
  const REAL *weight, *bias, *mask;
} Layer;

// A place of the kernel that meets the image: the pixel there, and the weights [input channel][output channel].
typedef struct {
  const REAL *pixel, *weights;
} Tap;

int sample_multiple(void) { return STEP; }

INLINE Vector load(const REAL *p) { return *(const Vector *)p; }

// The value, or 0 where the condition is not positive; NaN counts as positive, so that it is not lost.
INLINE Vector where_positive(Vector condition, Vector value) {
  return (Vector)(~(Mask)(condition <= 0) & (Mask)value);
}

// The samples of n output channels of a pixel: bias + sum over taps and input channels.
INLINE void pixel_block(int n, const Tap *taps, int n_taps, long samples, int inputs, int outputs, long in_plane,
                        const REAL *bias, const REAL *mask, int relu, REAL *out, long out_plane) {
  for (long sample = 0; sample < samples; sample += STEP) {
    Vector sum[BLOCK][VECTORS];
    for (int c = 0; c < n; c++)
      for (int v = 0; v < VECTORS; v++) sum[c][v] = (Vector){0} + (bias ? bias[c] : 0);
    for (int t = 0; t < n_taps; t++) {
      const REAL *x = taps[t].pixel + sample, *w = taps[t].weights;
      for (int i = 0; i < inputs; i++, x += in_plane, w += outputs) {
        Vector in[VECTORS];
        for (int v = 0; v < VECTORS; v++) in[v] = load(x + v * LANES);
#pragma GCC unroll 8
        for (int c = 0; c < n; c++)
          for (int v = 0; v < VECTORS; v++) sum[c][v] += in[v] * w[c];
      }
    }
#pragma GCC unroll 8
    for (int c = 0; c < n; c++)
      for (int v = 0; v < VECTORS; v++) {
        long at = c * out_plane + sample + v * LANES;
        Vector value = relu ? where_positive(sum[c][v], sum[c][v]) : sum[c][v];
        *(Vector *)(out + at) = mask ? where_positive(load(mask + at), value) : value;
      }
  }
}

// The same with n known to the compiler, so that the sums stay in registers.
static void pixel(int n, const Tap *taps, int n_taps, long samples, int inputs, int outputs, long in_plane,
                  const REAL *bias, const REAL *mask, int relu, REAL *out, long out_plane) {
#define CASE(k) \
  case k: pixel_block(k, taps, n_taps, samples, inputs, outputs, in_plane, bias, mask, relu, out, out_plane); break;
  switch (n) {
    CASE(1) CASE(2) CASE(3) CASE(4)
#if BLOCK == 8
    CASE(5) CASE(6) CASE(7) CASE(8)
#endif
  }
#undef CASE
}

// The pixels of the input that meet the output's pixel (y, x), and their weights; returns their number.
static int meeting(const Layer *l, int y, int x, const REAL *in, long in_stride, const REAL *packed, long weights,
                   Tap *taps) {
  const Shape *s = &l->shape;
  int n = 0, k = s->kernel, small = l->to_small, step = small ? 1 : s->stride, way = small ? 1 : -1;
  int height = small ? s->large_height : s->small_height, width = small ? s->large_width : s->small_width;
  int row = small ? y * s->stride - s->padding : (y + s->padding) / step;
  int left = small ? x * s->stride - s->padding : (x + s->padding) / step;
  for (int ky = small ? 0 : (y + s->padding) % step; ky < k; ky += step, row += way)
    for (int kx = small ? 0 : (x + s->padding) % step, column = left; kx < k; kx += step, column += way) {
      if (row < 0 || column < 0 || row >= height || column >= width) continue;
      taps[n].pixel = in + (long)(row * width + column) * in_stride;
      taps[n++].weights = packed + (ky * k + kx) * weights;
    }
  return n;
}

static int inputs_of(const Layer *l) { return l->to_small ? l->shape.large_channels : l->shape.small_channels; }
static int outputs_of(const Layer *l) { return l->to_small ? l->shape.small_channels : l->shape.large_channels; }
static long pixels(const Shape *s, int small) {
  return small ? (long)s->small_height * s->small_width : (long)s->large_height * s->large_width;
}
static long weights_of(const Layer *l) {
  return (long)l->shape.small_channels * l->shape.large_channels * l->shape.kernel * l->shape.kernel;
}

// A group's weights as [kernel][kernel][input channel][output channel].
static void pack(const Layer *l, const REAL *weight, REAL *packed) {
  int inputs = inputs_of(l), outputs = outputs_of(l), taps = l->shape.kernel * l->shape.kernel;
  for (int a = 0; a < l->shape.small_channels; a++)
    for (int b = 0; b < l->shape.large_channels; b++)
      for (int t = 0; t < taps; t++)
        packed[(long)t * inputs * outputs + (l->to_small ? b * outputs + a : a * outputs + b)] = *weight++;
}

// Some samples of a group; a stride is the distance of neighbouring pixels.
static void convolve_some(const Layer *l, const REAL *packed, long samples, const REAL *in, long in_stride,
                          const REAL *bias, const REAL *mask, REAL *out, long out_stride) {
  int inputs = inputs_of(l), outputs = outputs_of(l), small = l->to_small;
  int height = small ? l->shape.small_height : l->shape.large_height;
  int width = small ? l->shape.small_width : l->shape.large_width;
  long in_plane = pixels(&l->shape, !small) * in_stride, out_plane = pixels(&l->shape, small) * out_stride;
  Tap taps[MOST_TAPS];
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++) {
      int n_taps = meeting(l, y, x, in, in_stride, packed, (long)inputs * outputs, taps);
      for (int c = 0, n; c < outputs; c += n) {
        int blocks = (outputs - c + BLOCK - 1) / BLOCK;
        n = (outputs - c + blocks - 1) / blocks;
        long at = c * out_plane + (long)(y * width + x) * out_stride;
        pixel(n, taps, n_taps, samples, inputs, outputs, in_plane, bias ? bias + c : 0, mask ? mask + at : 0,
              l->relu, out + at, out_plane);
        for (int t = 0; t < n_taps && c + n < outputs; t++) taps[t].weights += n;
      }
    }
}

// out = the layers one after the other. A few samples at a time go through all of them, so that what lies
// between two layers stays in the cache. A mask is possible where there is one layer.
void convolve(const Layer *layers, int n, const REAL *in, REAL *out) {
  long samples = layers->shape.samples, tile = n > 1 ? TILE : samples, weights = 0, between = 0;
  const Layer *last = layers + n - 1;
  for (const Layer *l = layers; l <= last; l++) {
    long size = outputs_of(l) * pixels(&l->shape, l->to_small) * tile;
    weights += weights_of(l);
    if (l < last && size > between) between = size;
  }
  REAL *packed = malloc(sizeof(REAL) * (weights + 2 * between)), *images = packed + weights;
  long in_size = inputs_of(layers) * pixels(&layers->shape, !layers->to_small) * samples;
  long out_size = outputs_of(last) * pixels(&last->shape, last->to_small) * samples;
  for (int g = 0; g < layers->shape.groups; g++, in += in_size, out += out_size) {
    REAL *to = packed;
    for (const Layer *l = layers; l <= last; to += weights_of(l++)) pack(l, l->weight + g * weights_of(l), to);
    for (long begin = 0; begin < samples; begin += tile) {
      const REAL *x = in + begin, *w = packed;
      long some = samples - begin < tile ? samples - begin : tile, stride = samples;
      for (const Layer *l = layers; l <= last; w += weights_of(l++)) {
        REAL *y = l == last ? out + begin : images + (l - layers) % 2 * between;
        convolve_some(l, w, some, x, stride, l->bias ? l->bias + g * outputs_of(l) : 0,
                      l->mask ? l->mask + g * out_size + begin : 0, y, l == last ? samples : tile);
        x = y, stride = tile;
      }
    }
  }
  free(packed);
}

// Sums over pixels and samples of S channels of small times L of large, at each place of the kernel.
INLINE void gradient_block(int S, int L, const Shape *s, const REAL *small, const REAL *large, REAL *gradient) {
  int k = s->kernel;
  long samples = s->samples, small_plane = s->small_height * s->small_width * samples;
  long large_plane = s->large_height * s->large_width * samples;
  for (int ky = 0; ky < k; ky++)
    for (int kx = 0; kx < k; kx++) {
      Vector sum[4][3];
      for (int a = 0; a < S; a++)
        for (int b = 0; b < L; b++) sum[a][b] = (Vector){0};
      for (int y = 0; y < s->small_height; y++) {
        int row = y * s->stride - s->padding + ky;
        if (row < 0 || row >= s->large_height) continue;
        for (int x = 0; x < s->small_width; x++) {
          int column = x * s->stride - s->padding + kx;
          if (column < 0 || column >= s->large_width) continue;
          const REAL *p = small + (y * s->small_width + x) * samples;
          const REAL *q = large + (row * s->large_width + column) * samples;
          for (long i = 0; i < samples; i += LANES) {
            Vector of_large[3];
            for (int b = 0; b < L; b++) of_large[b] = load(q + b * large_plane + i);
#pragma GCC unroll 4
            for (int a = 0; a < S; a++) {
              Vector of_small = load(p + a * small_plane + i);
              for (int b = 0; b < L; b++) sum[a][b] += of_small * of_large[b];
            }
          }
        }
      }
      for (int a = 0; a < S; a++)
        for (int b = 0; b < L; b++) {
          REAL total = 0;
          for (int lane = 0; lane < LANES; lane++) total += sum[a][b][lane];
          gradient[((long)a * s->large_channels + b) * k * k + ky * k + kx] = total;
        }
    }
}

// gradient[group][small channel][large channel][kernel][kernel] of either convolution's weight.
void weight_gradient(const Shape *s, const REAL *small, const REAL *large, REAL *gradient) {
  long small_plane = (long)s->small_height * s->small_width * s->samples;
  long large_plane = (long)s->large_height * s->large_width * s->samples;
  int cs = s->small_channels, cl = s->large_channels, k = s->kernel;
  for (int g = 0; g < s->groups; g++) {
    for (int a = 0, S; a < cs; a += S) {
      S = cs - a >= 4 ? 4 : 1;
      for (int b = 0, L; b < cl; b += L) {
        L = cl - b < 3 ? cl - b : 3;
        const REAL *p = small + a * small_plane, *q = large + b * large_plane;
        REAL *at = gradient + ((long)a * cl + b) * k * k;
#define CASE(x, y) \
  if (S == x && L == y) gradient_block(x, y, s, p, q, at);
        CASE(4, 3) CASE(4, 2) CASE(4, 1) CASE(1, 3) CASE(1, 2) CASE(1, 1)
#undef CASE
      }
    }
    small += cs * small_plane, large += cl * large_plane, gradient += (long)cs * cl * k * k;
  }
}

// total[group][sample] = sum over elements of |x - output|, and its gradient by the output, unless that is null.
void absolute_error(long groups, long elements, long samples, const REAL *x, const REAL *output, REAL *total,
                    REAL *gradient) {
  for (long g = 0; g < groups; g++, total += samples)
    for (long b = 0; b < samples; b += LANES) {
      Vector sum = {0};
      for (long begin = 0; begin < elements; begin += 64) { // sums of sums lose fewer digits
        Vector part = {0};
        for (long e = begin; e < elements && e < begin + 64; e++) {
          long at = (g * elements + e) * samples + b;
          Vector difference = load(output + at) - load(x + at);
          Vector sign = __builtin_convertvector((Mask)(difference < 0) - (Mask)(difference > 0), Vector);
          part += difference * sign;
          if (gradient) *(Vector *)(gradient + at) = sign;
        }
        sum += part;
      }
      *(Vector *)(total + b) = sum;
    }
}
