{#- Everything else whose spelling differs between engines. -#}

{#- UTC timestamp from microseconds since 1970. -#}
{% macro timestamp_from_micros(micros) -%}
    {{ return(adapter.dispatch('timestamp_from_micros', 'funnelhouse')(micros)) }}
{%- endmacro %}

{% macro duckdb__timestamp_from_micros(micros) -%}
    make_timestamp({{ micros }})
{%- endmacro %}

{#- Date from YYYYMMDD text; null where there is no such day. -#}
{% macro date_from_yyyymmdd(text) -%}
    {{ return(adapter.dispatch('date_from_yyyymmdd', 'funnelhouse')(text)) }}
{%- endmacro %}

{% macro duckdb__date_from_yyyymmdd(text) -%}
    cast(try_strptime({{ text }}, '%Y%m%d') as date)
{%- endmacro %}

{#- A UTC timestamp on the clock of the property's time zone. -#}
{% macro in_property_zone(timestamp_utc) -%}
    {{ return(adapter.dispatch('in_property_zone', 'funnelhouse')(timestamp_utc)) }}
{%- endmacro %}

{% macro duckdb__in_property_zone(timestamp_utc) -%}
    timezone('{{ var("property_timezone") }}', timezone('UTC', {{ timestamp_utc }}))
{%- endmacro %}

{#- ISO weekday: Monday 1 to Sunday 7. -#}
{% macro iso_weekday(value) -%}
    {{ return(adapter.dispatch('iso_weekday', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__iso_weekday(value) -%}
    cast(isodow({{ value }}) as bigint)
{%- endmacro %}

{#- The Monday of a date's week. -#}
{% macro week_of(value) -%}
    {{ return(adapter.dispatch('week_of', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__week_of(value) -%}
    cast(date_trunc('week', {{ value }}) as date)
{%- endmacro %}

{#- Days from one date to another. -#}
{% macro days_between(start, finish) -%}
    {{ return(adapter.dispatch('days_between', 'funnelhouse')(start, finish)) }}
{%- endmacro %}

{% macro duckdb__days_between(start, finish) -%}
    date_diff('day', {{ start }}, {{ finish }})
{%- endmacro %}

{% macro hour_of(value) -%}
    {{ return(adapter.dispatch('hour_of', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__hour_of(value) -%}
    cast(extract(hour from {{ value }}) as bigint)
{%- endmacro %}

{#- Whole and fractional seconds between two UTC timestamps. -#}
{% macro seconds_between(start, finish) -%}
    {{ return(adapter.dispatch('seconds_between', 'funnelhouse')(start, finish)) }}
{%- endmacro %}

{% macro duckdb__seconds_between(start, finish) -%}
    cast(epoch_us({{ finish }}) - epoch_us({{ start }}) as double) / 1000000
{%- endmacro %}

{% macro add_days(value, days) -%}
    {{ return(adapter.dispatch('add_days', 'funnelhouse')(value, days)) }}
{%- endmacro %}

{% macro duckdb__add_days(value, days) -%}
    {{ value }} + to_days(cast({{ days }} as integer))
{%- endmacro %}

{% macro count_where(condition) -%}
    {{ return(adapter.dispatch('count_where', 'funnelhouse')(condition)) }}
{%- endmacro %}

{% macro duckdb__count_where(condition) -%}
    count(*) filter (where {{ condition }})
{%- endmacro %}

{#- Null, not an error or infinity, where the denominator is 0. -#}
{% macro safe_divide(numerator, denominator) -%}
    {{ return(adapter.dispatch('safe_divide', 'funnelhouse')(numerator, denominator)) }}
{%- endmacro %}

{% macro duckdb__safe_divide(numerator, denominator) -%}
    cast({{ numerator }} as double) / nullif(cast({{ denominator }} as double), 0)
{%- endmacro %}

{% macro natural_log(value) -%}
    {{ return(adapter.dispatch('natural_log', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__natural_log(value) -%}
    ln({{ value }})
{%- endmacro %}

{#- A 64-bit number for a session, which sorts, groups and joins in half the time of its id. Two sessions of one number
    would be taken for one: every build tests that there are none. -#}
{% macro session_number(session_id) -%}
    {{ return(adapter.dispatch('session_number', 'funnelhouse')(session_id)) }}
{%- endmacro %}

{% macro duckdb__session_number(session_id) -%}
    hash({{ session_id }})
{%- endmacro %}

{% macro hash_of(columns) -%}
    {{ return(adapter.dispatch('hash_of', 'funnelhouse')(columns)) }}
{%- endmacro %}

{% macro duckdb__hash_of(columns) -%}
    hash({{ columns | join(', ') }})
{%- endmacro %}

{#- NaN, the infinities and a billion are no amounts of money: anybody can send such a hit. -#}
{% macro amount_or_null(value) -%}
    {{ return(adapter.dispatch('amount_or_null', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__amount_or_null(value) -%}
    case when abs({{ value }}) < 1000000000 then {{ value }} end
{%- endmacro %}

{#- First capture group of a regular expression, null where nothing matches. -#}
{% macro regex_extract(value, pattern, flags='') -%}
    {{ return(adapter.dispatch('regex_extract', 'funnelhouse')(value, pattern, flags)) }}
{%- endmacro %}

{% macro duckdb__regex_extract(value, pattern, flags) -%}
    nullif(regexp_extract({{ value }}, '{{ pattern }}', 1{% if flags %}, '{{ flags }}'{% endif %}), '')
{%- endmacro %}

{% macro regex_full_match(value, pattern) -%}
    {{ return(adapter.dispatch('regex_full_match', 'funnelhouse')(value, pattern)) }}
{%- endmacro %}

{% macro duckdb__regex_full_match(value, pattern) -%}
    regexp_full_match({{ value }}, '{{ pattern }}')
{%- endmacro %}

{#- The value in the row with the smallest key; nulls are values like any other. -#}
{% macro earliest(value, order_key) -%}
    {{ return(adapter.dispatch('earliest', 'funnelhouse')(value, order_key)) }}
{%- endmacro %}

{% macro duckdb__earliest(value, order_key) -%}
    arg_min_null({{ value }}, {{ order_key }})
{%- endmacro %}

{#- The items of an e-commerce event, cut down to what the models read. -#}
{% macro compact_items(items) -%}
    {{ return(adapter.dispatch('compact_items', 'funnelhouse')(items)) }}
{%- endmacro %}

{% macro duckdb__compact_items(items) -%}
    list_transform(
        {{ items }},
        lambda i: {
            'item_id': {{ item_text('i.item_id') }},
            'item_name': {{ item_text('i.item_name') }},
            'item_category': {{ item_text('i.item_category') }},
            'price_usd': {{ amount_or_null('i.price_in_usd') }},
            'quantity': case when i.quantity between 0 and 1000000 then i.quantity else 1 end,
            'item_revenue_usd': {{ amount_or_null('i.item_revenue_in_usd') }},
            'item_refund_usd': {{ amount_or_null('i.item_refund_in_usd') }}
        }
    )
{%- endmacro %}

{#- A list of values without those that are null. -#}
{% macro list_of_present(values) -%}
    {{ return(adapter.dispatch('list_of_present', 'funnelhouse')(values)) }}
{%- endmacro %}

{% macro duckdb__list_of_present(values) -%}
    list_filter([{{ values | join(', ') }}], lambda value: value is not null)
{%- endmacro %}

{#- Three counters below 2,097,152 in one 64-bit number, since a running sum costs the same for one as for three. What is
    packed is added up, and then read. -#}
{% macro packed_counter(slot) -%}
    {{ return(adapter.dispatch('packed_counter', 'funnelhouse')(slot)) }}
{%- endmacro %}

{% macro duckdb__packed_counter(slot) -%}
    {{ [1, 2097152, 4398046511104][slot] }}
{%- endmacro %}

{% macro unpacked_counter(word, slot) -%}
    {{ return(adapter.dispatch('unpacked_counter', 'funnelhouse')(word, slot)) }}
{%- endmacro %}

{% macro duckdb__unpacked_counter(word, slot) -%}
    ({{ word }} >> {{ 21 * slot }}) & 2097151
{%- endmacro %}

{#- One row per element of a list, to cross join with. -#}
{% macro unnest_list(list) -%}
    {{ return(adapter.dispatch('unnest_list', 'funnelhouse')(list)) }}
{%- endmacro %}

{% macro duckdb__unnest_list(list) -%}
    unnest({{ list }})
{%- endmacro %}

{% macro list_length(list) -%}
    {{ return(adapter.dispatch('list_length', 'funnelhouse')(list)) }}
{%- endmacro %}

{% macro duckdb__list_length(list) -%}
    coalesce(len({{ list }}), 0)
{%- endmacro %}

{% macro sum_of_field(list, field) -%}
    {{ return(adapter.dispatch('sum_of_field', 'funnelhouse')(list, field)) }}
{%- endmacro %}

{% macro duckdb__sum_of_field(list, field) -%}
    list_sum(list_transform({{ list }}, lambda s: s.{{ field }}))
{%- endmacro %}

{#- How many different values a field has in a list of structs; null without any. -#}
{% macro distinct_of_field(list, field) -%}
    {{ return(adapter.dispatch('distinct_of_field', 'funnelhouse')(list, field)) }}
{%- endmacro %}

{% macro duckdb__distinct_of_field(list, field) -%}
    nullif(cast(list_unique(list_transform({{ list }}, lambda s: s.{{ field }})) as bigint), 0)
{%- endmacro %}

{% macro contains_text(value, part) -%}
    {{ return(adapter.dispatch('contains_text', 'funnelhouse')(value, part)) }}
{%- endmacro %}

{% macro duckdb__contains_text(value, part) -%}
    contains({{ value }}, '{{ part }}')
{%- endmacro %}

{% macro file_name(path) -%}
    {{ return(adapter.dispatch('file_name', 'funnelhouse')(path)) }}
{%- endmacro %}

{% macro duckdb__file_name(path) -%}
    parse_filename({{ path }})
{%- endmacro %}

{#- The UTC timestamp at which a date begins in the property's time zone. Where clocks go back over midnight there are two
    of it, and the engine takes the second: the hour before that shows the same date then. -#}
{% macro property_midnight(date_value) -%}
    {{ return(adapter.dispatch('property_midnight', 'funnelhouse')(date_value)) }}
{%- endmacro %}

{% macro duckdb__property_midnight(date_value) -%}
    {%- set midnight -%}
        timezone('UTC', timezone('{{ var("property_timezone") }}', cast({{ date_value }} as timestamp)))
    {%- endset -%}
    case
        when {{ in_property_zone(midnight ~ ' - interval 1 hour') }} >= {{ date_value }}
            then {{ midnight }} - interval 1 hour
        else {{ midnight }}
    end
{%- endmacro %}

{% macro add_hours(value, hours) -%}
    {{ return(adapter.dispatch('add_hours', 'funnelhouse')(value, hours)) }}
{%- endmacro %}

{% macro duckdb__add_hours(value, hours) -%}
    {{ value }} + to_hours(cast({{ hours }} as bigint))
{%- endmacro %}

{#- A field of a list's first struct, null for an empty list. -#}
{% macro first_item(list, field) -%}
    {{ return(adapter.dispatch('first_item', 'funnelhouse')(list, field)) }}
{%- endmacro %}

{% macro duckdb__first_item(list, field) -%}
    {{ list }}[1].{{ field }}
{%- endmacro %}

{#- A host or source name as the seed of source categories spells it. -#}
{% macro bare_hostname(value) -%}
    {{ return(adapter.dispatch('bare_hostname', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__bare_hostname(value) -%}
    regexp_replace(lower({{ value }}), '^(www|m|l|lm)[.]', '')
{%- endmacro %}

{#- Several columns as one value, so that they travel together. -#}
{% macro row_of(columns) -%}
    {{ return(adapter.dispatch('row_of', 'funnelhouse')(columns)) }}
{%- endmacro %}

{% macro duckdb__row_of(columns) -%}
    struct_pack({% for column in columns %}{{ column }} := {{ column }}{{ ', ' if not loop.last }}{% endfor %})
{%- endmacro %}

{% macro row_field(value, field) -%}
    {{ return(adapter.dispatch('row_field', 'funnelhouse')(value, field)) }}
{%- endmacro %}

{% macro duckdb__row_field(value, field) -%}
    {{ value }}.{{ field }}
{%- endmacro %}

{#- The newest value that is not null, up to and including the current row. -#}
{% macro latest_in_order(value, partition_by, order_by) -%}
    {{ return(adapter.dispatch('latest_in_order', 'funnelhouse')(value, partition_by, order_by)) }}
{%- endmacro %}

{% macro duckdb__latest_in_order(value, partition_by, order_by) -%}
    last_value({{ value }} ignore nulls) over (
        partition by {{ partition_by }} order by {{ order_by }} rows between unbounded preceding and current row
    )
{%- endmacro %}

{#- Sums of money add up exactly, in whatever order the rows come: millionths, not floating point. -#}
{% macro sum_money(value) -%}
    {{ return(adapter.dispatch('sum_money', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__sum_money(value) -%}
    cast(sum(cast({{ value }} as decimal(38, 6))) as double)
{%- endmacro %}

{% macro msec_to_seconds(value) -%}
    {{ return(adapter.dispatch('msec_to_seconds', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__msec_to_seconds(value) -%}
    cast({{ value }} as double) / 1000
{%- endmacro %}

{#- Mean of seconds over rows, exact whatever the order of the rows (whole microseconds are summed). -#}
{% macro mean_seconds(value) -%}
    {{ return(adapter.dispatch('mean_seconds', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__mean_seconds(value) -%}
    cast(sum(cast(round({{ value }} * 1000000) as hugeint)) as double) / nullif(count({{ value }}), 0) / 1000000
{%- endmacro %}

{#- Mean of money, exact whatever the order of the rows. -#}
{% macro mean_money(value) -%}
    {{ return(adapter.dispatch('mean_money', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__mean_money(value) -%}
    cast(sum(cast({{ value }} as decimal(38, 6))) as double) / nullif(count({{ value }}), 0)
{%- endmacro %}

{#- Standard deviation of money. Floating point adds up differently in another order of the rows: what differs is cut. -#}
{% macro deviation_money(value) -%}
    {{ return(adapter.dispatch('deviation_money', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__deviation_money(value) -%}
    round(stddev_samp({{ value }}), 6)
{%- endmacro %}

{#- Every hour from one UTC timestamp up to, and without, another, to cross join with. -#}
{% macro unnest_hours(start, finish) -%}
    {{ return(adapter.dispatch('unnest_hours', 'funnelhouse')(start, finish)) }}
{%- endmacro %}

{% macro duckdb__unnest_hours(start, finish) -%}
    unnest(range({{ start }}, {{ finish }}, interval 1 hour))
{%- endmacro %}

{#- The start of the hour that a UTC timestamp lies in, hours counted from `origin`. -#}
{% macro hour_since(origin, timestamp_utc) -%}
    {{ return(adapter.dispatch('hour_since', 'funnelhouse')(origin, timestamp_utc)) }}
{%- endmacro %}

{% macro duckdb__hour_since(origin, timestamp_utc) -%}
    {{ origin }} + to_hours(cast(floor((epoch_us({{ timestamp_utc }}) - epoch_us({{ origin }})) / 3600000000) as bigint))
{%- endmacro %}

{#- Texts joined in order, those rows only where the condition holds. -#}
{% macro joined_in_order(value, separator, order_by, condition) -%}
    {{ return(adapter.dispatch('joined_in_order', 'funnelhouse')(value, separator, order_by, condition)) }}
{%- endmacro %}

{% macro duckdb__joined_in_order(value, separator, order_by, condition) -%}
    string_agg({{ value }}, '{{ separator }}' order by {{ order_by }}) filter (where {{ condition }})
{%- endmacro %}

{#- Without blanks around it. Most text has none, and looking is a tenth of the price of trimming. -#}
{% macro trimmed(value) -%}
    {{ return(adapter.dispatch('trimmed', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__trimmed(value) -%}
    case
        when starts_with({{ value }}, ' ') or ends_with({{ value }}, ' ') then trim({{ value }})
        else {{ value }}
    end
{%- endmacro %}

{#- The newest value that is not null before the current row. -#}
{% macro latest_before(value, partition_by, order_by) -%}
    {{ return(adapter.dispatch('latest_before', 'funnelhouse')(value, partition_by, order_by)) }}
{%- endmacro %}

{% macro duckdb__latest_before(value, partition_by, order_by) -%}
    last_value({{ value }} ignore nulls) over (
        partition by {{ partition_by }} order by {{ order_by }} rows between unbounded preceding and 1 preceding
    )
{%- endmacro %}

{#- A number for a row of the lake that grows with its day: day, file (65,536 of them) and place in the file. Tables that
    hold it stay in date order, so a join by it opens only the days it needs. -#}
{% macro lake_row_key(day, path, row_number) -%}
    {{ return(adapter.dispatch('lake_row_key', 'funnelhouse')(day, path, row_number)) }}
{%- endmacro %}

{% macro duckdb__lake_row_key(day, path, row_number) -%}
    (cast({{ day }} as date) - date '2000-01-01') * 281474976710656
    + coalesce(cast(nullif(regexp_extract({{ path }}, '([0-9]+)[.]parquet$', 1), '') as bigint), 0) * 4294967296
    + {{ row_number }}
{%- endmacro %}

{#- Microseconds since 1970 of a UTC timestamp. -#}
{% macro micros_of(value) -%}
    {{ return(adapter.dispatch('micros_of', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__micros_of(value) -%}
    epoch_us({{ value }})
{%- endmacro %}

{#- A timestamp some seconds later, fractions included. -#}
{% macro add_seconds(value, seconds) -%}
    {{ return(adapter.dispatch('add_seconds', 'funnelhouse')(value, seconds)) }}
{%- endmacro %}

{% macro duckdb__add_seconds(value, seconds) -%}
    make_timestamp(epoch_us({{ value }}) + cast(round({{ seconds }} * 1000000) as bigint))
{%- endmacro %}

{% macro cube_root(value) -%}
    {{ return(adapter.dispatch('cube_root', 'funnelhouse')(value)) }}
{%- endmacro %}

{% macro duckdb__cube_root(value) -%}
    cbrt({{ value }})
{%- endmacro %}

{% macro any_true(condition) -%}
    {{ return(adapter.dispatch('any_true', 'funnelhouse')(condition)) }}
{%- endmacro %}

{% macro duckdb__any_true(condition) -%}
    bool_or({{ condition }})
{%- endmacro %}

{#- The largest value of the rows for which a condition holds. -#}
{% macro max_where(value, condition) -%}
    {{ return(adapter.dispatch('max_where', 'funnelhouse')(value, condition)) }}
{%- endmacro %}

{% macro duckdb__max_where(value, condition) -%}
    max({{ value }}) filter (where {{ condition }})
{%- endmacro %}

{#- `earliest` of the rows for which a condition holds. -#}
{% macro earliest_where(value, order_key, condition) -%}
    {{ return(adapter.dispatch('earliest_where', 'funnelhouse')(value, order_key, condition)) }}
{%- endmacro %}

{% macro duckdb__earliest_where(value, order_key, condition) -%}
    arg_min_null({{ value }}, {{ order_key }}) filter (where {{ condition }})
{%- endmacro %}

{% macro starts_with_text(value, prefix) -%}
    {{ return(adapter.dispatch('starts_with_text', 'funnelhouse')(value, prefix)) }}
{%- endmacro %}

{% macro duckdb__starts_with_text(value, prefix) -%}
    starts_with({{ value }}, {{ prefix }})
{%- endmacro %}

{% macro ends_with_text(value, suffix) -%}
    {{ return(adapter.dispatch('ends_with_text', 'funnelhouse')(value, suffix)) }}
{%- endmacro %}

{% macro duckdb__ends_with_text(value, suffix) -%}
    ends_with({{ value }}, {{ suffix }})
{%- endmacro %}

{#- What stands between separators, counted from 1; '' where there are fewer. -#}
{% macro text_part(value, separator, number) -%}
    {{ return(adapter.dispatch('text_part', 'funnelhouse')(value, separator, number)) }}
{%- endmacro %}

{% macro duckdb__text_part(value, separator, number) -%}
    split_part({{ value }}, '{{ separator }}', {{ number }})
{%- endmacro %}

{#- The statement that keeps a query's rows in a table, in place of whatever has its name. -#}
{% macro keep_as(table, query) -%}
    {{ return(adapter.dispatch('keep_as', 'funnelhouse')(table, query)) }}
{%- endmacro %}

{% macro duckdb__keep_as(table, query) -%}
    create or replace table {{ table }} as {{ query }}
{%- endmacro %}

{#- Between two queries: the rows of the first that the second has not, each once. BigQuery wants `distinct` said. -#}
{% macro except_distinct() -%}
    {{ return(adapter.dispatch('except_distinct', 'funnelhouse')()) }}
{%- endmacro %}

{% macro duckdb__except_distinct() -%}
    except
{%- endmacro %}
