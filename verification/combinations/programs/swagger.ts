/** @nestjs/swagger: the OpenAPI document. */
import { Controller, Get, Param, UseGuards, type Type } from '@nestjs/common';
import {
  ApiOperation,
  ApiProperty,
  ApiQuery,
  ApiResponse,
  DocumentBuilder,
  SwaggerModule,
} from '@nestjs/swagger';
import { AdminGuard, AS_ADMIN } from './http.js';
import { get, request, type HttpCall } from './http-calls.js';
import type {
  Combinations,
  Outcome,
  CombinationRun,
} from './combination-run.js';

class Item {
  @ApiProperty({ example: 'tea' })
  name!: string;
}

export const swagger: Combinations = {
  '@ApiOperation, @ApiQuery': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @Get(':id')
      @above
      @ApiOperation({ summary: 'Finds an item', deprecated: true })
      @ApiQuery({ name: 'size', enum: ['s', 'xl'], required: false })
      @ApiResponse({ status: 200, type: Item })
      @below
      async run(@Param('id') id: string): Promise<Item> {
        run.enter();
        return { name: id };
      }
    }
    return serveDocumented(run, Items, get('items/tea'));
  },

  '@ApiOperation, @ApiQuery, @UseGuards': (run) => {
    const { above, below } = run.lock();
    @Controller('items')
    class Items {
      @above
      @ApiOperation({ summary: 'Finds an item' })
      @UseGuards(AdminGuard)
      @ApiQuery({ name: 'size', enum: ['s', 'xl'], required: false })
      @Get(':id')
      @below
      async run(@Param('id') id: string): Promise<Item> {
        run.enter();
        return { name: id };
      }
    }
    return serveDocumented(
      run,
      Items,
      get('items/tea'),
      get('items/tea', AS_ADMIN),
    );
  },
};

/** Starts an application with this controller and calls it; registered is what its document says. */
async function serveDocumented(
  run: CombinationRun,
  controller: Type,
  ...calls: readonly HttpCall[]
): Promise<Outcome> {
  const app = await run.start({ controllers: [controller] });
  return {
    ...(await request(app, ...calls)),
    method: [controller, 'run'],
    registration: SwaggerModule.createDocument(
      app,
      new DocumentBuilder().build(),
    ),
  };
}
