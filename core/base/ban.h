/*
 * base/ban.h - functions that may not be used (reliability.md, C habits)
 *
 * Included last by core files that handle text.
 */
#ifndef MK_BASE_BAN_H
#define MK_BASE_BAN_H
/* Some libcs have these as macros. */
#undef strcpy
#undef strcat
#undef sprintf
#undef vsprintf
#undef strtok
#undef alloca
#pragma GCC poison strcpy strcat sprintf vsprintf gets strtok system popen rand srand random drand48 lrand48
#endif
