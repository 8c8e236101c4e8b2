/* Stands in for CMSIS-NN in tests: the few types and functions that exported C calls, as Arm documents them, written from
   that documentation alone. It computes in 64 bits and counts its calls, so that a test sees who did the work. */
#ifndef ARM_NNFUNCTIONS_H
#define ARM_NNFUNCTIONS_H

#include <stdint.h>

typedef enum { ARM_CMSIS_NN_SUCCESS = 0, ARM_CMSIS_NN_ARG_ERROR = -1 } arm_cmsis_nn_status;
typedef struct { int32_t w, h; } cmsis_nn_tile;
typedef struct { void *buf; int32_t size; } cmsis_nn_context;
typedef struct { int32_t n, h, w, c; } cmsis_nn_dims;
typedef struct { int32_t *multiplier, *shift; } cmsis_nn_per_channel_quant_params;
typedef struct { int32_t min, max; } cmsis_nn_activation;
typedef struct {
    int32_t input_offset, output_offset;
    cmsis_nn_tile stride, padding, dilation;
    cmsis_nn_activation activation;
} cmsis_nn_conv_params;
typedef struct {
    int32_t input_offset, output_offset, ch_mult;
    cmsis_nn_tile stride, padding, dilation;
    cmsis_nn_activation activation;
} cmsis_nn_dw_conv_params;

extern int stand_in_calls;
int stand_in_calls;

/* Documented: val * multiplier / 2^(31 - shift), rounded once. */
static int8_t stand_in_place(int64_t sum, int32_t multiplier, int32_t shift, int32_t offset, cmsis_nn_activation ends)
{
    const int64_t half = (int64_t)1 << (30 - shift);
    int64_t value = ((sum * multiplier + half) >> (31 - shift)) + offset;
    value = value < ends.min ? ends.min : value;
    return (int8_t)(value > ends.max ? ends.max : value);
}

static int32_t arm_convolve_wrapper_s8_get_buffer_size(const cmsis_nn_conv_params *conv_params,
                                                       const cmsis_nn_dims *input_dims,
                                                       const cmsis_nn_dims *filter_dims,
                                                       const cmsis_nn_dims *output_dims)
{
    (void)conv_params, (void)input_dims, (void)output_dims;
    return 4 * filter_dims->h * filter_dims->w * filter_dims->c; /* two columns of int16, as with DSP instructions */
}

static int32_t arm_depthwise_conv_wrapper_s8_get_buffer_size(const cmsis_nn_dw_conv_params *dw_conv_params,
                                                             const cmsis_nn_dims *input_dims,
                                                             const cmsis_nn_dims *filter_dims,
                                                             const cmsis_nn_dims *output_dims)
{
    (void)dw_conv_params, (void)output_dims;
    return 2 * filter_dims->h * filter_dims->w * input_dims->c;
}

/* input [N, H, W, C_IN], filter [C_OUT, HK, WK, C_IN], output [N, H, W, C_OUT]; depthwise filter [1, HK, WK, C_OUT]. */
static arm_cmsis_nn_status stand_in(int depthwise, int32_t input_offset, int32_t output_offset, cmsis_nn_tile stride,
                                    cmsis_nn_tile padding, cmsis_nn_tile dilation, cmsis_nn_activation ends,
                                    const cmsis_nn_per_channel_quant_params *scales, const cmsis_nn_dims *in,
                                    const int8_t *x, const cmsis_nn_dims *filter, const int8_t *weight,
                                    const int32_t *bias, const cmsis_nn_dims *out, int8_t *y)
{
    stand_in_calls++;
    for (int32_t row = 0; row < out->h; row++) {
        for (int32_t column = 0; column < out->w; column++) {
            for (int32_t o = 0; o < out->c; o++) {
                int64_t sum = bias[o];
                for (int32_t i = 0; i < filter->h * filter->w; i++) {
                    const int32_t v = row * stride.h - padding.h + i / filter->w * dilation.h;
                    const int32_t u = column * stride.w - padding.w + i % filter->w * dilation.w;
                    for (int32_t c = depthwise ? o : 0; c < (depthwise ? o + 1 : in->c); c++) {
                        if (v >= 0 && v < in->h && u >= 0 && u < in->w) {
                            const int32_t at = depthwise ? i * out->c + o : (o * filter->h * filter->w + i) * in->c + c;
                            sum += (int64_t)(x[(v * in->w + u) * in->c + c] + input_offset) * weight[at];
                        }
                    }
                }
                *y++ = stand_in_place(sum, scales->multiplier[o], scales->shift[o], output_offset, ends);
            }
        }
    }
    return ARM_CMSIS_NN_SUCCESS;
}

static arm_cmsis_nn_status arm_convolve_wrapper_s8(const cmsis_nn_context *ctx, const cmsis_nn_conv_params *conv_params,
                                                   const cmsis_nn_per_channel_quant_params *quant_params,
                                                   const cmsis_nn_dims *input_dims, const int8_t *input_data,
                                                   const cmsis_nn_dims *filter_dims, const int8_t *filter_data,
                                                   const cmsis_nn_dims *bias_dims, const int32_t *bias_data,
                                                   const cmsis_nn_dims *output_dims, int8_t *output_data)
{
    const cmsis_nn_conv_params *p = conv_params;
    const int32_t need = arm_convolve_wrapper_s8_get_buffer_size(p, input_dims, filter_dims, output_dims);
    if (ctx->size < need || filter_dims->c != input_dims->c || bias_dims->c != output_dims->c) {
        return ARM_CMSIS_NN_ARG_ERROR;
    }
    for (int32_t i = 0; i < need; i++) {
        ((int8_t *)ctx->buf)[i] = 85; /* it is theirs to write to */
    }
    return stand_in(0, p->input_offset, p->output_offset, p->stride, p->padding, p->dilation, p->activation,
                    quant_params, input_dims, input_data, filter_dims, filter_data, bias_data, output_dims, output_data);
}

static arm_cmsis_nn_status
arm_depthwise_conv_wrapper_s8(const cmsis_nn_context *ctx, const cmsis_nn_dw_conv_params *dw_conv_params,
                              const cmsis_nn_per_channel_quant_params *quant_params, const cmsis_nn_dims *input_dims,
                              const int8_t *input, const cmsis_nn_dims *filter_dims, const int8_t *filter,
                              const cmsis_nn_dims *bias_dims, const int32_t *bias, const cmsis_nn_dims *output_dims,
                              int8_t *output)
{
    const cmsis_nn_dw_conv_params *p = dw_conv_params;
    const int32_t need = arm_depthwise_conv_wrapper_s8_get_buffer_size(p, input_dims, filter_dims, output_dims);
    if (ctx->size < need || filter_dims->n != 1 || p->ch_mult != 1 || bias_dims->c != output_dims->c) {
        return ARM_CMSIS_NN_ARG_ERROR;
    }
    return stand_in(1, p->input_offset, p->output_offset, p->stride, p->padding, p->dilation, p->activation,
                    quant_params, input_dims, input, filter_dims, filter, bias, output_dims, output);
}

#endif
