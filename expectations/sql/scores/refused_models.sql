-- One row per model whose champion was not used.
create view refused_models as
select
    model as subject,
    reason
from warehouse.ops.refused_models;
