/* SPDX-License-Identifier: 0BSD */
/* Vectors and startup in Thumb-1, for every core. KEEP_FPU_OFF leaves out the FPU's enabling. */
    .syntax unified
    .thumb
    .section .vectors,"a",%progbits
    .word stack_top
    .word reset
    .text
    .thumb_func
    .type reset,%function
reset:
#if defined(__ARM_FP) && !defined(KEEP_FPU_OFF)
    ldr r0, =0xE000ED88
    movs r1, #0xF
    lsls r1, r1, #20
    str r1, [r0]
    dsb
    isb
#endif
    ldr r0, =data_start
    ldr r1, =data_end
    ldr r2, =data_load
    b 2f
1:  ldm r2!, {r3}
    stm r0!, {r3}
2:  cmp r0, r1
    blo 1b
    ldr r0, =bss_start
    ldr r1, =bss_end
    movs r2, #0
    b 4f
3:  stm r0!, {r2}
4:  cmp r0, r1
    blo 3b
    bl main
    ldr r2, =0x20026
    push {r2, r3}
    str r0, [sp, #4]
    mov r1, sp
    movs r0, #0x20
    bkpt 0xAB
    b .
    .size reset, . - reset
