/* The Gregorian calendar as day numbers: 0 is 1970-01-01, and there is no time of day. */
#include <stddef.h>
#include <stdio.h>

#include "satchel/check.h"

struct date {
    int year, month, day;
};

static bool is_leap(int year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_in_month(int year, int month)
{
    switch (month) {
    case 4:
    case 6:
    case 9:
    case 11:
        return 30;
    case 2:
        return is_leap(year) ? 29 : 28;
    default:
        return 31;
    }
}

/* Years begin in March here, so that the leap day is a year's last. */
static long to_days(struct date date)
{
    long year = date.month > 2 ? date.year : date.year - 1;
    long era = (year >= 0 ? year : year - 399) / 400;
    long year_of_era = year - era * 400;
    long day_of_year = (153 * ((date.month + 9) % 12) + 2) / 5 + date.day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

static struct date from_days(long days)
{
    days += 719468;
    long era = (days >= 0 ? days : days - 146096) / 146097;
    long day_of_era = days - era * 146097;
    long year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    long day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    long shifted = (5 * day_of_year + 2) / 153;
    int month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
    return (struct date){(int)(year_of_era + era * 400 + (month <= 2)), month,
                         (int)(day_of_year - (153 * shifted + 2) / 5 + 1)};
}

/* 1 is Monday, 7 is Sunday. */
static int weekday(struct date date)
{
    long shifted = (to_days(date) + 3) % 7;
    return (int)(shifted < 0 ? shifted + 7 : shifted) + 1;
}

static int iso_week(struct date date, int *year)
{
    /* A week belongs to the year of its Thursday. */
    struct date thursday = from_days(to_days(date) + 4 - weekday(date));
    *year = thursday.year;
    return (int)(to_days(thursday) - to_days((struct date){thursday.year, 1, 1})) / 7 + 1;
}

static struct date add_months(struct date date, int months)
{
    int index = date.year * 12 + date.month - 1 + months;
    struct date moved = {index / 12, index % 12 + 1, date.day};
    int last = days_in_month(moved.year, moved.month);
    if (moved.day > last)
        moved.day = last;
    return moved;
}

static bool is(struct date a, int year, int month, int day)
{
    return a.year == year && a.month == month && a.day == day;
}

void date_check(struct check *check)
{
    struct date walker = {1599, 12, 31};
    long number = to_days(walker);
    unsigned wrong = 0;
    for (int i = 0; i < 300000; i++) { /* a little over eight centuries, one day at a time */
        if (++walker.day > days_in_month(walker.year, walker.month)) {
            walker.day = 1;
            if (++walker.month > 12) {
                walker.month = 1;
                walker.year++;
            }
        }
        number++;
        struct date back = from_days(number);
        wrong += to_days(walker) != number || !is(back, walker.year, walker.month, walker.day);
    }
    CHECK(wrong == 0);
    CHECK(walker.year == 2421);
    CHECK(to_days((struct date){1970, 1, 1}) == 0);
    CHECK(weekday((struct date){1970, 1, 1}) == 4);
    CHECK(weekday((struct date){2000, 2, 29}) == 2);
    CHECK(weekday((struct date){1815, 6, 18}) == 7);
    int year;
    CHECK(iso_week((struct date){2021, 1, 3}, &year) == 53 && year == 2020);
    CHECK(iso_week((struct date){2024, 12, 30}, &year) == 1 && year == 2025);
    CHECK(is(add_months((struct date){2024, 1, 31}, 1), 2024, 2, 29));
    CHECK(is(add_months((struct date){2023, 3, 15}, -3), 2022, 12, 15));
}
