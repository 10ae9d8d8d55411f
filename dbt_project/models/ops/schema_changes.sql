{{ config(materialized='table') }}

with ledger as (
    select
        event_date,
        unknown_columns,
        missing_columns,
        retyped_columns
    from {{ source('ops', 'ingest_ledger') }}
),

differences as (
    select
        ledger.event_date,
        {{ json_entry_key('e') }} as column_name,
        false as is_known_column,
        {{ json_entry_value('e') }} as exported_as
    from ledger
    {{ cross_join_json_entries('ledger.unknown_columns', 'e') }}
    union all
    select
        ledger.event_date,
        e.entry as column_name,
        true as is_known_column,
        'absent' as exported_as
    from ledger
    {{ cross_join_json_texts('ledger.missing_columns', 'e') }}
    union all
    select
        ledger.event_date,
        {{ json_entry_key('e') }} as column_name,
        true as is_known_column,
        {{ json_entry_value('e') }} as exported_as
    from ledger
    {{ cross_join_json_entries('ledger.retyped_columns', 'e') }}
),

differing_columns as (
    select
        column_name,
        is_known_column,
        case when is_known_column then 'known type' else 'absent' end as in_known_schema
    from differences
    group by column_name, is_known_column
),

states as (
    select
        ledger.event_date,
        differing_columns.column_name,
        differing_columns.is_known_column,
        differing_columns.in_known_schema,
        coalesce(differences.exported_as, differing_columns.in_known_schema) as exported_as
    from ledger
    cross join differing_columns
    left join differences
        on
            ledger.event_date = differences.event_date
            and differing_columns.column_name = differences.column_name
            and differing_columns.is_known_column = differences.is_known_column
),

-- the first day loaded is compared with the known schema, every other one with the loaded day before it
compared as (
    select
        event_date,
        column_name,
        is_known_column,
        in_known_schema,
        exported_as,
        coalesce(
            lag(exported_as) over (partition by column_name, is_known_column order by event_date), in_known_schema
        ) as exported_before_as
    from states
),

numbered as (
    select
        *,
        sum(case when exported_as != exported_before_as then 1 else 0 end) over (
            partition by column_name, is_known_column
            order by event_date
            rows between unbounded preceding and current row
        ) as change_number
    from compared
)

select
    numbered.column_name,
    numbered.is_known_column,
    numbered.exported_as,
    min(numbered.event_date) as event_date,
    max(numbered.event_date) as last_date,
    count(*) as loaded_days,
    {{ earliest('numbered.exported_before_as', 'numbered.event_date') }} as exported_before_as,
    case
        when numbered.exported_as = 'absent' then 'missing'
        when {{ earliest('numbered.exported_before_as', 'numbered.event_date') }} = 'absent' then 'new'
        else 'retyped'
    end as change,
    numbered.exported_as != numbered.in_known_schema as differs_from_known_schema,
    max(numbered.event_date) = (select max(ledger.event_date) from ledger) as is_current
from numbered
where numbered.change_number > 0
group by
    numbered.column_name,
    numbered.is_known_column,
    numbered.in_known_schema,
    numbered.exported_as,
    numbered.change_number
