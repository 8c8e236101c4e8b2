/*** always ***/
/* Right shifts of negative numbers must keep the sign, as those of every compiler for microcontrollers do. */
typedef char eyespot_needs_arithmetic_shifts[(-1 >> 1) == -1 ? 1 : -1];

#ifdef EYESPOT_CMSIS_NN
typedef int32_t shift_type;
#else
typedef int8_t shift_type;
#endif

#ifdef EYESPOT_TRACE /* for looking inside: a function of yours that is shown every tensor; a level is worth `scale` */
void EYESPOT_TRACE(const char *name, int32_t channels, int32_t height, int32_t width, double scale, int32_t zero,
                   const int8_t *levels);
#define TRACE(name, channels, height, width, scale, zero, levels)                                                      \
    EYESPOT_TRACE(name, channels, height, width, scale, zero, levels)
#else
#define TRACE(name, channels, height, width, scale, zero, levels) ((void)0)
#endif

/*** scaled ***/
/* sum · multiplier · 2^(shift - 31), rounded to the nearest, halves up; for a shift below -1 the product's upper half
   is enough, and quicker on most processors. */
static int32_t scaled_small(int32_t sum, int32_t multiplier, int32_t shift)
{
    const int32_t upper = (int32_t)(((int64_t)sum * multiplier) >> 32);
    return ((upper >> (-2 - shift)) + 1) >> 1;
}

static int32_t scaled(int32_t sum, int32_t multiplier, int32_t shift)
{
    if (shift < -1) {
        return scaled_small(sum, multiplier, shift);
    }
    return (int32_t)(((int64_t)sum * multiplier + ((int64_t)1 << (30 - shift))) >> (31 - shift));
}

/*** placed ***/
/* Where results land: the level of zero, the lowest and the highest that there may be. */
struct ends {
    int16_t zero, low, high;
};

static int8_t placed(int32_t value, struct ends ends)
{
    value += ends.zero;
    if (value < ends.low) {
        value = ends.low;
    }
    if (value > ends.high) {
        value = ends.high;
    }
    return (int8_t)value;
}

/*** window ***/
/* A window: sizes of the map and of what comes of it, and how it moves. Maps lie row by row, pixel by pixel. */
struct window {
    int16_t in_height, in_width, in_channels, height, width, channels;
    int16_t kernel_height, kernel_width, stride_height, stride_width, top, left, dilation_height, dilation_width;
};

/* What of a window lies inside the map: rows from .. to of the kernel, the first of them at row y of the map. */
struct inside {
    int32_t y, x, row, rows, column, columns;
};

static struct inside inside(const struct window *w, int32_t row, int32_t column)
{
    struct inside in;
    in.y = row * w->stride_height - w->top;
    in.x = column * w->stride_width - w->left;
    in.row = 0;
    in.rows = w->kernel_height;
    in.column = 0;
    in.columns = w->kernel_width;
    while (in.row < in.rows && in.y + in.row * w->dilation_height < 0) {
        in.row++;
    }
    while (in.rows > in.row && in.y + (in.rows - 1) * w->dilation_height >= w->in_height) {
        in.rows--;
    }
    while (in.column < in.columns && in.x + in.column * w->dilation_width < 0) {
        in.column++;
    }
    while (in.columns > in.column && in.x + (in.columns - 1) * w->dilation_width >= w->in_width) {
        in.columns--;
    }
    return in;
}

static const int8_t *pixel(const struct window *w, const struct inside *in, const int8_t *x, int32_t i, int32_t j)
{
    const int32_t row = in->y + i * w->dilation_height;
    return x + (row * w->in_width + in->x + j * w->dilation_width) * w->in_channels;
}


/*** layer ***/
/* A convolution; a linear layer is one of a single pixel. Weights: (out, kernel rows, columns, in / groups); of
   depthwise ones (kernel rows, columns, channels). small: whether all shifts are below -1. */
struct layer {
    struct window window;
    int16_t groups, zero, small;
    struct ends ends;
    const int8_t *weight;
    const int32_t *bias, *multiplier;
    const shift_type *shift;
};

enum { BLOCK = 32 }; /* channels whose sums are made before any of them is scaled */

/*** layer levels ***/
/* The levels of `count` channels from `first` on. */
static void place(const struct layer *l, int32_t first, int32_t count, const int32_t *restrict sums,
                  int8_t *restrict y)
{
    const int32_t *bias = l->bias + first, *multiplier = l->multiplier + first;
    const shift_type *shift = l->shift + first;
    const struct ends ends = l->ends;
    if (l->small) {
        for (int32_t i = 0; i < count; i++) {
            y[i] = placed(scaled_small(sums[i] + bias[i], multiplier[i], shift[i]), ends);
        }
    } else {
        for (int32_t i = 0; i < count; i++) {
            y[i] = placed(scaled(sums[i] + bias[i], multiplier[i], shift[i]), ends);
        }
    }
}

/*** dense ***/
/* Each window becomes a column of int16, and layers are products of columns and rows of weights: four rows at a time,
   and with vectors two columns, filled up with zeros to whole vectors. What a row is read beyond its end, into the
   next one or the array's last bytes, is multiplied by those. */
#if defined(__AVX512BW__)
enum { COLUMNS = 2, LANES = 32 };
#elif defined(__SSE2__) || defined(__ARM_NEON) || defined(__ALTIVEC__) || defined(__wasm_simd128__)
enum { COLUMNS = 2, LANES = 16 };
#else
enum { COLUMNS = 1, LANES = 1 };
#endif

#if defined(__clang__) && defined(__SSE2__) && !defined(__AVX2__) /* where it would use halves of them */
#define WHOLE_VECTORS _Pragma("clang loop vectorize_width(8) interleave(disable)")
#else
#define WHOLE_VECTORS
#endif

static int32_t inputs_of(const struct layer *l)
{
    return l->window.kernel_height * l->window.kernel_width * (l->window.in_channels / l->groups);
}

static int32_t vectors_of(const struct layer *l)
{
    return (inputs_of(l) + LANES - 1) / LANES;
}

/* The window of a pixel, of one group's channels, less the level of zero. */
static void column_of(const struct layer *l, const int8_t *x, int32_t row, int32_t column, int32_t group,
                      int16_t *restrict a)
{
    const struct window *w = &l->window;
    const struct inside in = inside(w, row, column);
    const int32_t each = w->in_channels / l->groups, inputs = inputs_of(l), filled = vectors_of(l) * LANES;
    /* Pixels that lie side by side in the map and in the kernel are one run of bytes. */
    const int32_t side = l->groups == 1 && w->dilation_width == 1 ? in.columns - in.column : 1;
    const int16_t zero = l->zero;
    if ((in.rows - in.row) * (in.columns - in.column) * each < inputs) {
        for (int32_t k = 0; k < inputs; k++) {
            a[k] = 0;
        }
    }
    for (int32_t k = inputs; k < filled; k++) {
        a[k] = 0;
    }
    for (int32_t i = in.row; i < in.rows; i++) {
        for (int32_t j = in.column; j < in.columns; j += side) {
            const int8_t *from = pixel(w, &in, x, i, j) + group * each;
            int16_t *to = a + (i * w->kernel_width + j) * each;
            for (int32_t k = 0; k < side * each; k++) {
                to[k] = (int16_t)(from[k] - zero);
            }
        }
    }
}

/* Products of the columns with four rows of weights, the rows so many bytes behind the first one. */
static void products(const int16_t *restrict a, int32_t vectors, const int8_t *restrict b, const int32_t *restrict at,
                     int32_t *restrict sums)
{
    const int8_t *b0 = b, *b1 = b + at[1], *b2 = b + at[2], *b3 = b + at[3];
    const int32_t count = vectors * LANES;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    if (COLUMNS == 2) {
        const int16_t *other = a + count;
        int32_t t0 = 0, t1 = 0, t2 = 0, t3 = 0;
        WHOLE_VECTORS
        for (int32_t k = 0; k < count; k++) {
            const int16_t one = a[k], two = other[k];
            s0 += one * b0[k];
            s1 += one * b1[k];
            s2 += one * b2[k];
            s3 += one * b3[k];
            t0 += two * b0[k];
            t1 += two * b1[k];
            t2 += two * b2[k];
            t3 += two * b3[k];
        }
        sums[BLOCK] = t0;
        sums[BLOCK + 1] = t1;
        sums[BLOCK + 2] = t2;
        sums[BLOCK + 3] = t3;
    } else {
        for (int32_t k = 0; k < count; k++) {
            s0 += a[k] * b0[k];
            s1 += a[k] * b1[k];
            s2 += a[k] * b2[k];
            s3 += a[k] * b3[k];
        }
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

/* sums[0 ..] of the first column and sums[BLOCK ..] of the second: of `count` channels from `first` on. */
static void sums_of(const struct layer *l, const int16_t *columns, int32_t first, int32_t count, int32_t *sums)
{
    const int32_t inputs = inputs_of(l), vectors = vectors_of(l);
    for (int32_t c = 0; c < count; c += 4) {
        int32_t at[4]; /* the last rows again where there are not four */
        for (int32_t i = 0; i < 4; i++) {
            at[i] = (c + i < count ? i : count - 1 - c) * inputs;
        }
        products(columns, vectors, l->weight + (first + c) * inputs, at, sums + c);
    }
}

/*** dense levels ***/
static void dense(const struct layer *l, const int8_t *x, int16_t *columns, int8_t *y)
{
    const struct window *w = &l->window;
    const int32_t pixels = w->height * w->width, each = w->channels / l->groups, length = vectors_of(l) * LANES;
    int32_t sums[COLUMNS * BLOCK], row = 0, column = 0;
    for (int32_t at = 0; at < pixels; at += COLUMNS) {
        int32_t rows[COLUMNS], across[COLUMNS];
        const int32_t some = pixels - at < COLUMNS ? pixels - at : COLUMNS;
        for (int32_t i = 0; i < COLUMNS; i++) { /* the last pixel again where there is no other */
            rows[i] = row;
            across[i] = column;
            if (at + i + 1 < pixels) {
                column = column + 1 < w->width ? column + 1 : 0;
                row += column == 0;
            }
        }
        for (int32_t c = 0; c < w->channels;) {
            const int32_t group = c / each, left = (group + 1) * each - c, count = left < BLOCK ? left : BLOCK;
            for (int32_t i = 0; i < COLUMNS && left == each; i++) {
                column_of(l, x, rows[i], across[i], group, columns + i * length);
            }
            sums_of(l, columns, c, count, sums);
            for (int32_t i = 0; i < some; i++) {
                place(l, c, count, sums + i * BLOCK, y + (at + i) * w->channels + c);
            }
            c += count;
        }
    }
}

/*** dense answer ***/
static void answer(const struct layer *l, const int8_t *x, int16_t *columns, int32_t *logits)
{
    int32_t sums[COLUMNS * BLOCK];
    const int32_t channels = l->window.channels, each = channels / l->groups;
    for (int32_t c = 0; c < channels;) {
        const int32_t group = c / each, left = (group + 1) * each - c, count = left < BLOCK ? left : BLOCK;
        for (int32_t i = 0; i < COLUMNS && left == each; i++) {
            column_of(l, x, 0, 0, group, columns + i * vectors_of(l) * LANES);
        }
        sums_of(l, columns, c, count, sums);
        for (int32_t i = 0; i < count; i++) {
            logits[c + i] = scaled(sums[i] + l->bias[c + i], l->multiplier[c + i], l->shift[c + i]);
        }
        c += count;
    }
}

/*** depthwise ***/
static void depthwise(const struct layer *l, const int8_t *x, int8_t *y)
{
    const struct window *w = &l->window;
    const int16_t zero = l->zero;
    for (int32_t row = 0; row < w->height; row++) {
        for (int32_t column = 0; column < w->width; column++) {
            const struct inside in = inside(w, row, column);
            for (int32_t c = 0; c < w->channels; c += BLOCK) {
                const int32_t count = w->channels - c < BLOCK ? w->channels - c : BLOCK;
                int32_t sums[BLOCK] = {0};
                for (int32_t i = in.row; i < in.rows; i++) {
                    for (int32_t j = in.column; j < in.columns; j++) {
                        const int8_t *a = pixel(w, &in, x, i, j) + c;
                        const int8_t *b = l->weight + (i * w->kernel_width + j) * w->channels + c;
                        for (int32_t k = 0; k < count; k++) {
                            sums[k] += (int16_t)((a[k] - zero) * b[k]);
                        }
                    }
                }
                place(l, c, count, sums, y);
                y += count;
            }
        }
    }
}

/*** cmsis ***/
#ifdef EYESPOT_CMSIS_NN
/* Arm's CMSIS-NN (4.0 or newer) where it computes the same integers: convolutions without groups, and depthwise ones.
   Its rounding is ours when the library, too, is built with CMSIS_NN_USE_SINGLE_ROUNDING. */
#ifndef CMSIS_NN_USE_SINGLE_ROUNDING
#error "build this file and CMSIS-NN with -DCMSIS_NN_USE_SINGLE_ROUNDING; only so do they round as this network does"
#endif
#include "arm_nnfunctions.h"
#ifndef EYESPOT_CMSIS_SCRATCH /* bytes; a layer that needs more is computed without CMSIS-NN */
#define EYESPOT_CMSIS_SCRATCH EYESPOT_CMSIS_ENOUGH
#endif
static int32_t scratch[(EYESPOT_CMSIS_SCRATCH + 3) / 4];

static int by_cmsis(const struct layer *l, int is_depthwise, const int8_t *x, int8_t *y)
{
    const struct window *w = &l->window;
    const cmsis_nn_dims in = {1, w->in_height, w->in_width, w->in_channels};
    const cmsis_nn_dims out = {1, w->height, w->width, w->channels};
    const cmsis_nn_dims filter = {is_depthwise ? 1 : w->channels, w->kernel_height, w->kernel_width, w->in_channels};
    const cmsis_nn_dims bias = {1, 1, 1, w->channels};
    const cmsis_nn_tile stride = {w->stride_width, w->stride_height}, padding = {w->left, w->top};
    const cmsis_nn_tile dilation = {w->dilation_width, w->dilation_height};
    const cmsis_nn_activation ends = {l->ends.low, l->ends.high};
    const cmsis_nn_conv_params dense_as = {-l->zero, l->ends.zero, stride, padding, dilation, ends};
    const cmsis_nn_dw_conv_params depthwise_as = {-l->zero, l->ends.zero, 1, stride, padding, dilation, ends};
    const cmsis_nn_per_channel_quant_params scales = {(int32_t *)l->multiplier, (int32_t *)l->shift};
    const cmsis_nn_context context = {scratch, (int32_t)sizeof scratch};
    if (is_depthwise) {
        return arm_depthwise_conv_wrapper_s8_get_buffer_size(&depthwise_as, &in, &filter, &out) <= context.size &&
               arm_depthwise_conv_wrapper_s8(&context, &depthwise_as, &scales, &in, x, &filter, l->weight, &bias,
                                             l->bias, &out, y) == ARM_CMSIS_NN_SUCCESS;
    }
    return l->groups == 1 && arm_convolve_wrapper_s8_get_buffer_size(&dense_as, &in, &filter, &out) <= context.size &&
           arm_convolve_wrapper_s8(&context, &dense_as, &scales, &in, x, &filter, l->weight, &bias, l->bias, &out,
                                   y) == ARM_CMSIS_NN_SUCCESS;
}
#define BY_CMSIS(l, is_depthwise, x, y) by_cmsis(l, is_depthwise, x, y)
#else
#define BY_CMSIS(l, is_depthwise, x, y) 0
#endif

/*** lookup ***/
/* Any function of one level, by a table; x and y may be the same. */
static void lookup(const int8_t *table, int32_t count, const int8_t *x, int8_t *y)
{
    for (int32_t i = 0; i < count; i++) {
        y[i] = table[(uint8_t)x[i]];
    }
}

/*** sum ***/
/* The sum of some maps, each times its own multiplier; one that is a single pixel is added to every pixel. */
struct term {
    const int8_t *x;
    int32_t multiplier;
    int16_t zero, single;
};

static void sum(const struct term *terms, int count, int32_t pixels, int32_t channels, int shift, struct ends ends,
                int8_t *y)
{
    int32_t totals[32];
    for (int32_t i = 0; i < pixels; i++) {
        for (int32_t c = 0; c < channels; c += 32) {
            const int32_t some = channels - c < 32 ? channels - c : 32;
            for (int32_t k = 0; k < some; k++) {
                totals[k] = (int32_t)1 << (shift - 1);
            }
            for (int t = 0; t < count; t++) {
                const int8_t *x = terms[t].x + (terms[t].single ? c : i * channels + c);
                const int32_t multiplier = terms[t].multiplier, zero = terms[t].zero;
                for (int32_t k = 0; k < some; k++) {
                    totals[k] += (x[k] - zero) * multiplier;
                }
            }
            for (int32_t k = 0; k < some; k++) {
                *y++ = placed(totals[k] >> shift, ends);
            }
        }
    }
}

/*** product ***/
/* The product of two maps; the second may be a single pixel (a gate). */
static void product(const int8_t *a, int zero_a, const int8_t *b, int zero_b, int single, int32_t pixels,
                    int32_t channels, int32_t multiplier, int32_t shift, struct ends ends, int8_t *y)
{
    for (int32_t i = 0; i < pixels; i++) {
        for (int32_t c = 0; c < channels; c++) {
            const int32_t value = (int32_t)(a[c] - zero_a) * (b[c] - zero_b);
            y[c] = placed(scaled(value, multiplier, shift), ends);
        }
        a += channels;
        b += single ? 0 : channels;
        y += channels;
    }
}

/*** highest ***/
static void highest(const struct window *w, const int8_t *x, int8_t *y)
{
    for (int32_t row = 0; row < w->height; row++) {
        for (int32_t column = 0; column < w->width; column++) {
            const struct inside in = inside(w, row, column);
            for (int32_t c = 0; c < w->channels; c++) {
                y[c] = -128;
            }
            for (int32_t i = in.row; i < in.rows; i++) {
                for (int32_t j = in.column; j < in.columns; j++) {
                    const int8_t *from = pixel(w, &in, x, i, j);
                    for (int32_t c = 0; c < w->channels; c++) {
                        y[c] = from[c] > y[c] ? from[c] : y[c];
                    }
                }
            }
            y += w->channels;
        }
    }
}

/*** mean ***/
/* The mean of each window. With several scales the one that counts is that of the pixels inside the map. */
static void mean(const struct window *w, int zero, const int32_t *multiplier, const int8_t *shift, int several,
                 struct ends ends, const int8_t *x, int8_t *y)
{
    int32_t totals[32];
    for (int32_t row = 0; row < w->height; row++) {
        for (int32_t column = 0; column < w->width; column++) {
            const struct inside in = inside(w, row, column);
            const int32_t at = several ? (in.rows - in.row) * (in.columns - in.column) - 1 : 0;
            for (int32_t c = 0; c < w->channels; c += 32) {
                const int32_t some = w->channels - c < 32 ? w->channels - c : 32;
                for (int32_t k = 0; k < some; k++) {
                    totals[k] = 0;
                }
                for (int32_t i = in.row; i < in.rows; i++) {
                    for (int32_t j = in.column; j < in.columns; j++) {
                        const int8_t *from = pixel(w, &in, x, i, j) + c;
                        for (int32_t k = 0; k < some; k++) {
                            totals[k] += from[k] - zero;
                        }
                    }
                }
                for (int32_t k = 0; k < some; k++) {
                    *y++ = placed(scaled(totals[k], multiplier[at], shift[at]), ends);
                }
            }
        }
    }
}

/*** gather ***/
/* Channels of a map to other places in another one, through a table if there is one. */
static void gather(const int8_t *x, int32_t in_channels, int32_t start, int32_t count, int8_t *y, int32_t channels,
                   int32_t at, int32_t stride, int32_t pixels, const int8_t *table)
{
    for (int32_t i = 0; i < pixels; i++) {
        for (int32_t c = 0; c < count; c++) {
            const int8_t level = x[i * in_channels + start + c];
            y[i * channels + at + c * stride] = table ? table[(uint8_t)level] : level;
        }
    }
}

/*** fill ***/
static void fill(int8_t level, int32_t count, int8_t *y)
{
    for (int32_t i = 0; i < count; i++) {
        y[i] = level;
    }
}

/*** flat ***/
/* A map as a vector, channel by channel. */
static void flat(const int8_t *x, int32_t pixels, int32_t channels, int8_t *y)
{
    for (int32_t c = 0; c < channels; c++) {
        for (int32_t i = 0; i < pixels; i++) {
            *y++ = x[i * channels + c];
        }
    }
}

/*** total ***/
static void total(const int8_t *x, int zero, int32_t pixels, int32_t channels, int32_t *logits)
{
    for (int32_t c = 0; c < channels; c++) {
        logits[c] = 0;
    }
    for (int32_t i = 0; i < pixels; i++) {
        for (int32_t c = 0; c < channels; c++) {
            logits[c] += x[i * channels + c] - zero;
        }
    }
}

/*** plain pixels ***/
/* Pixels are levels already; they may lie where the levels go. */
static void levels_of(const uint8_t *pixels, int8_t *levels)
{
    for (int32_t i = 0; i < (int32_t)EYESPOT_HEIGHT * EYESPOT_WIDTH * 3; i++) {
        levels[i] = (int8_t)(pixels[i] - 128);
    }
}

/*** pixels by tables ***/
/* The level of each colour by its table; pixels may lie where the levels go. */
static void levels_of(const uint8_t *pixels, int8_t *levels)
{
    for (int32_t i = 0; i < (int32_t)EYESPOT_HEIGHT * EYESPOT_WIDTH; i++) {
        uint8_t colour[3];
        for (int c = 0; c < 3; c++) {
            colour[c] = pixels[i * 3 + c];
        }
        for (int c = 0; c < 3; c++) {
            levels[i * 3 + c] = level_of[c][colour[colour_of[c]]];
        }
    }
}

/*** end ***/
